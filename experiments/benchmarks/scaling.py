"""Time of a training step over 1, 2, 4, 8 devices, for the same global batch.

  python experiments/benchmarks/scaling.py                      # CPU: devices are parts of this machine
  python experiments/benchmarks/scaling.py --config=configs/default.py --batch-size=32   # on a machine with 8 GPUs

prints a table and writes experiments/benchmarks/results/scaling_<device>.json. Efficiency is the time on one device
over devices x time; CPU devices share the machine's cores, so that it cannot exceed cores over devices. Each number of
devices runs in a process of its own; times are medians. Run it from the top folder of the checkout.
"""

import argparse

from stage1_step import in_own_process, write_result


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--config", default="configs/quickstart.py", help="config file; its stage 1 step is measured")
  parser.add_argument("--batch-size", type=int, default=8, help="bursts over all devices")
  parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8], help="numbers of devices")
  parser.add_argument("--repeats", type=int, default=10, help="steps that are timed, after two that warm up")
  args = parser.parse_args()
  rows = [dict(devices=number) | in_own_process(
      args.config, {"batch_size": args.batch_size, "parallel.num_devices": number}, args.repeats)
          for number in args.devices]
  print("| devices | step, ms | efficiency | waiting for data |\n|---|---|---|---|")
  for row in rows:
    row["efficiency"] = rows[0]["step_s"] * rows[0]["devices"] / (row["devices"] * row["step_s"])
    print(f"| {row['devices']} | {1e3 * row['step_s']:.0f} | {row['efficiency']:.2f} | "
          f"{row['data_wait_fraction']:.1%} |")
  write_result("scaling", rows)


if __name__ == "__main__":
  main()
