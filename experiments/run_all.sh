#!/usr/bin/env bash
# Runs every experiment at a scale, one after the other:  experiments/run_all.sh [tiny|small|medium|paper] [OPTION...]
# Options, such as --photos=FOLDER,FOLDER, go to each of them.
# What is finished is skipped or measured again; a failure does not stop the others. Ends with what remains.
set -uo pipefail
cd "$(dirname "$0")/.."
scale=${1:-small}
shift || true
remaining=()
for name in table1 table2 table3 table4 table5 active_sl gain_range robustness patches \
            black_level exposure_time_penalty burst_size figures speed oracle exposure_sensitivity; do
  echo "== experiments.$name --scale=$scale"
  python -m "experiments.$name" --scale="$scale" "$@" || remaining+=("$name")
done
if [ ${#remaining[@]} -gt 0 ]; then
  echo "Remaining: ${remaining[*]}. The same command goes on."
  exit 1
fi
echo "All experiments are finished; look into runs/$scale."
