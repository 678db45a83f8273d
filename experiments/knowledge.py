r"""What knowing more before the burst is worth: nothing, the gain, the motion, both, and the scene itself.

  python -m experiments.knowledge --config=configs/quickstart.py --from=runs/quickstart --photos=FOLDER,FOLDER \
      --photo_list=experiments/pretraining/photo_splits.json --to=runs/knowledge

BAENet is worth what its inputs say about the best exposure times. Here every capture of test scenes is taken with every
one of a set of exposure times, under the restorer of stage 1, and choices are made by what is known:

- nothing: one choice for all captures;
- gain, motion, or both, as they are measured from the previews: what was best for captures of *other photos* with a
  similar one (kernel regression, leave one photo out);
- scene: what was best for the same scene under other gains and noise; scene and gain: weighed by how similar the gains
  are. Of what a preview could tell beyond motion and gain this is the limit.

--bae adds what a BAENet of the run chooses. Written to --to: table.md, scores.json.
"""

import sys

import numpy as np

from debir_jax.evaluation import Method
from debir_jax.evaluation.records import by_method
from debir_jax.evaluation.statistics import Units, mean_and_error
from debir_jax.policies import bracket, candidate_set, format_exposure_times, uniform
from debir_jax.policies.fixed import Fixed
from debir_jax.runtime.platform import prepare_memory
from debir_jax.training.experiment import Experiment
from debir_jax.types import SUBFRAME_RATE_HZ
from experiments import yardstick

_UNIFORM = (8, 10, 12, 14, 16, 18, 20, 22, 24, 28, 32)  # Exposure times of all frames, in 1/1920 s.
_BANDWIDTH = 0.3  # Of the kernel, in standard deviations of what is known.
_GAIN_BANDWIDTH = 0.7  # The same among the few captures of one scene.
_NOTHING, _BOTH = "nothing", "motion and gain"


def chosen_by(psnr: np.ndarray, known: np.ndarray, among: np.ndarray, bandwidth: float = _BANDWIDTH) -> np.ndarray:
  """Index of the choice for each capture, `[N]`: the best of other captures where the same was known, nearly.

  Args:
    psnr: `[N, m]`, of every capture with every choice.
    known: `[N, k]`, in standard deviations; k = 0: nothing.
    among: `[N, N]`, which captures each may learn from.
    bandwidth: of the kernel.
  """
  squares = np.sum((known[:, None] - known[None]) ** 2, -1)
  return np.argmax(np.exp(-squares / (2 * bandwidth**2)) * among @ psnr, -1)


def gains_of(psnr: np.ndarray, motion: np.ndarray, gain: np.ndarray, scenes: np.ndarray,
             photos: np.ndarray) -> dict[str, np.ndarray]:
  """PSNR of every capture `[N]` by what is known, dB."""
  of = lambda values: ((values - values.mean()) / max(values.std(), 1e-9))[:, None]
  none, motion, gain = np.zeros((len(psnr), 0)), of(np.log(np.maximum(motion, 1e-2))), of(gain)
  other_photo = photos[:, None] != photos[None]
  same_scene = (scenes[:, None] == scenes[None]) & ~np.eye(len(scenes), dtype=bool)
  by_photos = {_NOTHING: none, "gain": gain, "motion": motion, _BOTH: np.concatenate([motion, gain], -1)}
  choices = {name: chosen_by(psnr, known, other_photo) for name, known in by_photos.items()}
  choices |= {name: chosen_by(psnr, known, same_scene, _GAIN_BANDWIDTH)
              for name, known in {"scene": none, "scene and gain": gain}.items()}
  return {name: np.take_along_axis(psnr, choice[:, None], 1)[:, 0] for name, choice in choices.items()}


def run(experiment: Experiment, state, with_bae: bool, split: str) -> dict:
  """PSNR of every capture by what is known, JSON."""
  timing = experiment.setup.timing
  policies = _choices(timing)
  methods = [Method(name, policy, state.restoration_variables) for name, policy in policies.items()]
  if with_bae:
    methods.append(Method("BAENet", experiment.bae_policy(state), state.restoration_variables))
  records = experiment.evaluate(methods, split)
  by_name = by_method(records)
  first = next(iter(by_name.values()))
  psnr = np.array([[record.psnr for record in by_name[name]] for name in policies]).T
  column = lambda field: np.array([getattr(record, field) for record in first])
  found = gains_of(psnr, column("motion_magnitude"), column("preview_gain"), column("scene_id"), column("group"))
  if with_bae:
    found["BAENet"] = np.array([record.psnr for record in by_name["BAENet"]])
  return dict(choices=list(policies), photos=column("group").tolist(),
              psnr={name: values.tolist() for name, values in found.items()})


def format_table(results: dict) -> str:
  """Markdown: PSNR by what is known, and what that is worth over nothing and over motion and gain."""
  units = Units(results["photos"], [0] * len(results["photos"]))
  psnr = {name: np.asarray(values) for name, values in results["psnr"].items()}
  lines = ["| what is known | PSNR, dB | over nothing | over motion and gain |", "|---|---|---|---|"]
  for name, values in psnr.items():
    cells = [mean_and_error(values - psnr[other], units) for other in (_NOTHING, _BOTH)]
    mean, error = mean_and_error(values, units)
    lines.append(f"| {name} | {mean:.2f} ± {error:.2f} | " + " | ".join(f"{m:.2f} ± {e:.2f}" for m, e in cells) + " |")
  return "\n".join([*lines, "", f"{len(results['photos'])} captures of {units.num_groups} photos, ± one standard error "
                    f"over photos; {len(results['choices'])} choices: {', '.join(results['choices'])}."])


def _choices(timing):
  """Policies by name: uniform exposures, what is not uniform in the set E, and bracketing."""
  policies = {f"{{{count}}}x{timing.num_frames}": uniform(count / SUBFRAME_RATE_HZ) for count in _UNIFORM}
  policies |= {name: Fixed(tuple(times)) for name, times in zip(*candidate_set(timing)) if np.ptp(times) > 0}
  return policies | {format_exposure_times(np.asarray(bracket(timing).exposure_times)): bracket(timing)}


def main(argv: list[str]) -> None:
  """Measures and writes."""
  parser = yardstick.make_parser("knowledge", __doc__)
  yardstick.add_run_options(parser)
  parser.add_argument("--bae", action="store_true", help="also what the run's BAENet chooses (of stage 2)")
  parser.add_argument("--split", choices=("validation", "test"), default="test", help="of the scenes (%(default)s)")
  args = parser.parse_args(argv)
  prepare_memory()
  experiment = yardstick.experiment_of(args, args.split)
  state = experiment.load_stage("stage1", args.source, experiment.initial_state())
  if args.bae:
    trained = experiment.load_stage("stage2", args.source, experiment.initial_state())
    state = state.replace(bae_params=trained.bae_params, bae_stats=trained.bae_stats)
  results = run(experiment, state, args.bae, args.split)
  yardstick.write(args.to or args.source / "knowledge", format_table(results), results)


if __name__ == "__main__":
  main(sys.argv[1:])
