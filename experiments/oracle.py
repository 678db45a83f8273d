"""Regret: what every method of Table 1 loses against the best exposure times of each scene.

  python -m experiments.table1
  python -m experiments.oracle      # 15 minutes on 2 busy CPU cores

The oracle tries a coarse set and descends along the exact gradient through simulator and restorer, for every capture
(scene and gain), on noise of its own; what it finds is measured on the very captures of Table 1, with the restorer of
stage 1 for all. It is a bound for policies under this restorer, up to how well the search converges. Another one finds
the best time that all frames can share: what the two differ by is what a time for each frame can be worth at most.
Written to <workdir>/oracle: table.md, records and a figure. The same command goes on with what was stopped.
"""

import pathlib

import jax
import ml_collections
import numpy as np

from debir_jax.evaluation import (
  Method,
  Oracle,
  format_table,
  plots,
  read_records,
  records_path,
  summarize,
  write_records,
)
from debir_jax.policies import candidate_set
from debir_jax.runtime.files import write_json, write_text
from debir_jax.runtime.fingerprint import fingerprint
from debir_jax.runtime.platform import prepare_memory
from debir_jax.runtime.progress import log
from debir_jax.runtime.workdir import locked
from debir_jax.scenes import scenes_made_of
from debir_jax.training import comparison
from debir_jax.types import SUBFRAME_RATE_HZ
from experiments import networks, scales

ORACLE, ONE_TIME = "oracle", "oracle of one time"
_SHARED_TIMES = (8, 9, 10, 11, 12, 13, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32)  # In 1/1920 s.
_COLUMN = comparison.STAGE1_COLUMN


def run(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> str:
  """Searches for every capture, compares with the records of Table 1; returns the table."""
  others = _records_of(records_path(workdir / "table1", _COLUMN))
  experiment, state = networks.pretrained(config, workdir)
  chain, timing = experiment.chain(), experiment.setup.timing
  shared_s = np.outer(_SHARED_TIMES, np.ones(timing.num_frames)) / SUBFRAME_RATE_HZ
  oracles = {ORACLE: Oracle(chain=chain, candidates=candidate_set(timing).exposure_times),
             ONE_TIME: Oracle(chain=chain, candidates=shared_s, num_steps=0)}
  with locked(str(workdir / ORACLE)) as path:
    found = []
    for name, oracle in oracles.items():
      method = Method(name, oracle, state.restoration_variables, uses_ground_truth=True)
      found += _search(experiment, method, records_path(path, name))
    summaries = {_COLUMN: summarize(found + others, reference=ORACLE)}
    table = format_table(summaries, reference=ORACLE, markdown=True)
    write_text(path / "table.md", table + "\n")
    write_json(path / "regret.json", {
        row.method: dict(regret_db=-row.difference, error_db=row.difference_error) for row in summaries[_COLUMN]})
    plots.differences(path / "differences.png", summaries, reference=ORACLE)
  return format_table(summaries, reference=ORACLE)


def _search(experiment, method, path):
  """Records of the oracle; scenes that were searched before, with this restorer, are read."""
  records = read_records(path) if _is_made_of(experiment, method, path) and path.exists() else []
  done, size = {record.scene_id for record in records}, experiment.evaluator.batch_size
  left = [index for index in range(len(experiment.scenes["test"])) if index not in done]
  for start in range(0, len(left), size):
    log(f"{method.name}: {len(done)} of {len(done) + len(left) - start} scenes")
    records += experiment.evaluate([method], which=left[start:start + size])
    write_records(path, records)
    done = {record.scene_id for record in records}
  return records


def _is_made_of(experiment, method, path) -> bool:
  """Whether the records beside it are of this restorer and these scenes; notes it for the next time."""
  note = path.with_name(f"{path.stem}_made_of.txt")
  made_of = fingerprint(jax.device_get(method.restorer_variables), scenes_made_of(experiment.scenes["test"]),
                        experiment.config.evaluation.seed, experiment.config.evaluation.num_draws)
  same = note.exists() and note.read_text() == made_of
  write_text(note, made_of)
  return same


def _records_of(path):
  if not path.exists():
    raise FileNotFoundError(f"There is no {path}. Run `python -m experiments.table1` of the same --scale and "
                            "--workdir first.")
  return read_records(path)


main = scales.main_of(__doc__, "oracle", run)

if __name__ == "__main__":
  prepare_memory()
  main()
