"""The first minute: the weights inside the package meter a photo in motion and restore three kinds of bursts of it.

  python -m debir_jax.demo                                       # a built-in photo
  python -m debir_jax.demo --photos=FOLDER --speed=700 --gain=900 --out=runs/fast

Two noisy previews are taken, BAENet chooses the exposure times of DEBIR's burst; beside it stand bracketing and two
uniform exposures of the same scene, under the same noise. Written to --out: comparison.png with previews, frames,
restored images and the true one, and table.md with times and PSNR. One scene shows how it works, and is no evidence:
`python -m debir_jax.main --config=configs/evaluate.py` compares on many.
"""

import argparse
from collections.abc import Mapping, Sequence
import pathlib
import sys
import time

import jax
import jax.numpy as jnp

from debir_jax.evaluation import Evaluator, Method, MetricRules
from debir_jax.evaluation.evaluate import Example, Metrics
from debir_jax.evaluation.plots import comparison_sheet
from debir_jax.pipeline import Chain
from debir_jax.policies import Policy, bracket, format_exposure_times, uniform
from debir_jax.runtime.errors import told_in_a_line
from debir_jax.runtime.files import local_path, write_text
from debir_jax.runtime.progress import log
from debir_jax.scenes import builtin_photos, moving_photo, photo_folder
from debir_jax.simulator import CaptureSetup, IsoNoise
from debir_jax.types import SUBFRAME_RATE_HZ, BurstTiming, Scene
from debir_jax.weights.model import Debir, load

_BORDER = 8  # Packed px that are not measured: there a burst in motion has seen less.
_SHORT, _LONG = 16, 32  # Of uniform exposures, in 1/1920 s.


def main(argv: Sequence[str]) -> None:
  """Reads the options and shows; what is wrong is told in a line, not as a traceback."""
  options = parser().parse_args(argv)
  with told_in_a_line(ValueError, OSError):
    run(options)


def run(options: argparse.Namespace) -> list[Example]:
  """The command. Returns all images, DEBIR's first.

  Raises:
    ValueError, OSError: with what is wrong, and the way on.
  """
  start_s, folder = time.monotonic(), _new_folder(options.out)
  model = load(options.weights)
  photos = photo_folder(options.photos) if options.photos else builtin_photos()
  scene = moving_photo(photos, options.size, options.speed, model.timing, seed=options.seed)
  log(f"metering a scene of {options.size}x{options.size} px that moves by about {options.speed:g} px/s, gain "
      f"{options.gain:g}; compiling ...")
  examples = compare(model, scene, options.gain, seed=options.seed)
  table = table_of(examples)
  comparison_sheet(folder / "comparison.png", examples)
  write_text(folder / "table.md", table)
  print(f"\n{table}\n{folder / 'comparison.png'} shows them; {time.monotonic() - start_s:.0f} s in all. One scene is "
        "no evidence: see the README.")
  return examples


def compare(model: Debir, scene: Scene, preview_gain: float, *, seed: int = 0,
            others: Mapping[str, Policy] | None = None) -> list[Example]:
  """One scene captured by DEBIR, by bracketing and by two uniform exposures, and restored.

  Args:
    model: both networks.
    scene: as long as the timing's budget.
    preview_gain: linear.
    seed: of the noise, which all captures share.
    others: further policies by name, behind DEBIR.

  Raises:
    ValueError: a network is missing, or the gain makes no sense.
  """
  if model.policy is None or model.restorer is None:
    raise ValueError("These weights hold one network, the demo needs both: a restorer and a BAENet. Give a folder with "
                     "restorer.safetensors and baenet.safetensors, or leave --weights out.")
  model.policy.inputs.warn_outside(preview_gain)
  setup = CaptureSetup(timing=model.timing, noise_model=model.noise_model or IsoNoise(), min_preview_gain=preview_gain,
                       max_preview_gain=preview_gain)
  chain = Chain(setup=setup, restorer=model.restorer, restorer_inputs=model.restorer_inputs, motion=model.motion)
  evaluator = Evaluator(chain, seed=seed, batch_size=1, metrics=Metrics(rules=MetricRules(border=_BORDER)))
  policies = {"DEBIR": model.policy, **(others or {}), **_fixed(model.timing)}
  methods = [Method(name, policy, model.restorer_variables) for name, policy in policies.items()]
  return evaluator.examples(methods, jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], scene))


def table_of(examples: Sequence[Example]) -> str:
  """Exposure times and PSNR of every capture, Markdown."""
  lines = ["| method | exposure times, 1/1920 s | in all, ms | PSNR of packed RAW, dB |", "|---|---|---|---|"]
  for example in examples:
    lines.append(f"| {example.method} | {format_exposure_times(example.exposure_times)} "
                 f"| {1000 * example.exposure_times.sum():.1f} | {example.psnr:.2f} |")
  return "\n".join(lines) + "\n"


def parser() -> argparse.ArgumentParser:
  """The options of the command."""
  options = argparse.ArgumentParser(prog="python -m debir_jax.demo", description=__doc__,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
  options.add_argument("--out", default="runs/demo", help="a folder of its own (%(default)s)")
  options.add_argument("--weights", help="a name of debir_jax.list_weights(), a folder or a file (those inside)")
  options.add_argument("--photos", default="", metavar="FOLDER", help="photos, of which --seed chooses one (built-in)")
  options.add_argument("--size", type=int, default=256, help="side of the scene, mosaic px (%(default)s)")
  options.add_argument("--speed", type=float, default=360.0, help="of the camera, mosaic px/s (%(default)s)")
  options.add_argument("--gain", type=float, default=700.0, help="of the previews, ISO over base ISO (%(default)s)")
  options.add_argument("--seed", type=int, default=0, help="of photo, motion and noise (%(default)s)")
  return options


def _fixed(timing: BurstTiming):
  uniforms = {f"uniform {{{count}}}": uniform(count / SUBFRAME_RATE_HZ) for count in (_SHORT, _LONG)
              if timing.num_frames * count <= timing.budget_s * SUBFRAME_RATE_HZ * (1 + 1e-6)}
  return {"bracketing": bracket(timing), **uniforms}


def _new_folder(path) -> pathlib.Path:
  folder = local_path(path, "--out")
  if folder.exists() and not folder.is_dir():
    raise ValueError(f"--out={folder} is a file. Give a folder.")
  foreign = sorted({item.name for item in folder.iterdir()} - {"comparison.png", "table.md"}) if folder.exists() else []
  if foreign:
    raise ValueError(f"--out={folder} holds other things ({foreign[0]}). Give a folder of its own.")
  return folder


if __name__ == "__main__":
  main(sys.argv[1:])
