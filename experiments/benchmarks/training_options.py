"""What the choices of precision, memory and batch do to a training step: bfloat16, rematerialisation, microbatches.

  python experiments/benchmarks/training_options.py
  python experiments/benchmarks/training_options.py --config=configs/default.py --batch-sizes 4 8 16      # on a GPU

prints a table and writes experiments/benchmarks/results/training_options_<device>.json. Each row is a stage 1 step in a
process of its own; times are medians, memory is the most that process and device had. Run it from the top folder of
the checkout.
"""

import argparse

from stage1_step import in_own_process, write_result

_OPTIONS = {
    "bfloat16": {"compute.dtype": "bfloat16"},
    "remat blocks": {"compute.remat": "blocks"},
    "remat stages": {"compute.remat": "stages"},
    "2 microbatches": {"parallel.num_microbatches": 2},
    "4 microbatches": {"parallel.num_microbatches": 4},
}


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--config", default="configs/default.py", help="config file; its stage 1 step is measured")
  parser.add_argument("--crop-size", type=int, default=64, help="side of the mosaic, px")
  parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 2, 4, 8], help="without any option")
  parser.add_argument("--repeats", type=int, default=5, help="steps that are timed, after two that warm up")
  args = parser.parse_args()
  cases = {f"batch of {size}": {"batch_size": size} for size in args.batch_sizes}
  cases |= {f"batch of 4, {name}": {"batch_size": 4} | changes for name, changes in _OPTIONS.items()}
  rows = []
  print("| stage 1 step | ms | ms per burst | waiting for data | process, GB | device, GB | first step, s |")
  print("|---|---|---|---|---|---|---|")
  for name, changes in cases.items():
    row = in_own_process(args.config, changes | {"data.crop_size": args.crop_size}, args.repeats)
    rows.append(dict(name=name) | row)
    device = f"{row['device_peak_gb']:.2f}" if "device_peak_gb" in row else ""
    print(f"| {name} | {1e3 * row['step_s']:.0f} | {1e3 * row['step_s'] / row['batch_size']:.0f} | "
          f"{row['data_wait_fraction']:.1%} | {row['process_peak_gb']:.2f} | {device} | {row['first_step_s']:.0f} |",
          flush=True)
  write_result("training_options", rows)


if __name__ == "__main__":
  main()
