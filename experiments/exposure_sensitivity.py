"""How the restored image answers to every exposure time, by exact gradients through simulator and restorer.

  python -m experiments.table1
  python -m experiments.exposure_sensitivity --scene=1      # 5 minutes on 2 CPU cores

needs DEBIR's networks of Table 1, and writes for one of the test scenes into <workdir>/exposure_sensitivity:

  gradients.png      dLoss/dt_i of every frame, mean and spread over noise draws, for several speeds of the motion
  landscape.png      the loss over the exposure times of two frames, with a path of descent and BAENet's prediction
  maps.png           where in the image, and how strongly, it changes with each exposure time (dI/dt_i)
  sensitivity.json   all numbers

All at the exposure times that BAENet predicts. --photos takes photos of your own.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.config.scenes import scene_sources_of
from debir_jax.evaluation import sensitivity
from debir_jax.imaging import view
from debir_jax.pipeline import Chain, capture_under, restore, restorer_inputs
from debir_jax.policies import search_exposure_times
from debir_jax.runtime.files import write_json
from debir_jax.runtime.platform import prepare_memory
from debir_jax.simulator import CaptureConditions, target_of
from debir_jax.training.losses import restoration_loss
from debir_jax.types import SUBFRAME_RATE_HZ, Scene
from experiments import captures, networks, plots, scales

_NAME = "exposure_sensitivity"


@dataclasses.dataclass(frozen=True, eq=False)
class Capture:
  """A capture of one scene, taken and restored at whatever exposure times.

  Attributes:
    chain: that it goes through.
    variables: of the restorer.
    scene: radiance `[num_subframes, h, w, 4]`.
    conditions: all but the noise.
  """

  chain: Chain
  variables: Any
  scene: Scene
  conditions: CaptureConditions

  def image_of(self, times: jax.Array, key: jax.Array) -> jax.Array:
    """The restored image `[h, w, 4]` of exposure times `[n]`, s, under this noise."""
    burst = capture_under(dataclasses.replace(self.conditions, burst_key=key), self.scene.radiance, times,
                          self.chain.setup.timing, motion=self.chain.motion_of(self.scene))
    return restore(self.chain.restorer, self.variables, restorer_inputs(burst, self.chain.restorer_inputs))

  def loss_of(self, times: jax.Array, key: jax.Array) -> jax.Array:
    """Its loss (Eq. 13)."""
    return restoration_loss(self.image_of(times, key), target_of(self.scene.radiance, self.chain.setup.timing))


def run(args) -> dict:
  """Computes and writes everything; returns what is in sensitivity.json."""
  config = args.config
  experiment, state = networks.load(config, args.workdir, networks.DEBIR)
  keys = jax.random.split(jax.random.key(args.noise_seed), args.draws)
  capture_of = functools.partial(_capture_at_speed, experiment, state, args.scene)
  captured, times = capture_of(1.0)
  path = args.workdir / _NAME
  path.mkdir(parents=True, exist_ok=True)
  gradients = {f"{factor:g} x": _gradients(*capture_of(factor), keys) for factor in args.speeds}
  landscape, descent = _landscape(captured, times, keys, args.points)
  maps = sensitivity.image_derivatives(captured.image_of, times, keys[0]) / SUBFRAME_RATE_HZ
  _draw(path, times, gradients, landscape, descent)
  _draw_maps(path, captured, times, maps, keys[0])
  subframes = lambda values: (np.asarray(values) * SUBFRAME_RATE_HZ).tolist()
  found = dict(
      scene=args.scene, draws=args.draws, predicted_times=subframes(times), speeds=gradients,
      landscape=dict(frames=landscape.frames, first=subframes(landscape.first), second=subframes(landscape.second),
                     loss=np.asarray(landscape.loss).tolist(),
                     descent=subframes(descent)),
      mean_absolute_change=np.abs(maps).mean((1, 2, 3)).tolist())
  write_json(path / "sensitivity.json", found)
  return found


def _capture_at_speed(experiment, state, index, factor) -> tuple[Capture, jax.Array]:
  """The capture of a scene at a multiple of its speed, and the times that BAENet predicts for it."""
  config = experiment.config.copy_and_resolve_references()
  config.data.update(dict(median_speed_px_s=config.data.median_speed_px_s * factor, cache=False))
  scene = scene_sources_of(config)["test"].scene(index)
  conditions, observation = captures.first_of(scene, experiment)
  times = experiment.bae_policy(state)(conditions.exposure_key, observation, experiment.setup.timing)
  return Capture(experiment.chain(), state.restoration_variables, scene, conditions), times


def _gradients(captured, times, keys):
  """Per 1/1920 s."""
  losses, gradients = sensitivity.loss_gradients(captured.loss_of, times, keys)
  gradients = np.asarray(gradients) / SUBFRAME_RATE_HZ
  return dict(times=(np.asarray(times) * SUBFRAME_RATE_HZ).tolist(), loss=float(losses.mean()),
              mean=gradients.mean(0).tolist(), deviation=gradients.std(0, ddof=1).tolist())


def _landscape(captured, times, keys, points):
  """Over the first two frames, the others at their predicted times; and a descent of these two from {8, 8}."""
  timing = captured.chain.setup.timing
  longest = timing.budget_s - times[2:].sum() - timing.min_exposure_s
  values = np.linspace(timing.min_exposure_s, float(longest), points)
  landscape = sensitivity.loss_landscape(captured.loss_of, times, keys, frames=(0, 1), first=values, second=values,
                                         budget_s=timing.budget_s)
  mean_loss = lambda t: jnp.mean(jax.lax.map(lambda key: captured.loss_of(jnp.append(t[:2], times[2:]), key), keys))
  start = jnp.full((1, timing.num_frames), timing.min_exposure_s * 1.05)
  descent = jax.jit(lambda: search_exposure_times(mean_loss, start, timing, num_steps=80))().path
  # The search shares the budget of the whole burst; what belongs to the frames that stay is not free.
  return landscape, [step[:2] for step in np.asarray(descent) if step[:2].sum() + times[2:].sum() <= timing.budget_s]


def _draw(path, times, gradients, landscape, descent):
  in_subframes = lambda values: np.asarray(values) * SUBFRAME_RATE_HZ
  plots.gradient_bars(path / "gradients.png", gradients)
  plots.landscape(path / "landscape.png", in_subframes(landscape.first), in_subframes(landscape.second),
                  landscape.loss, in_subframes(descent), in_subframes(times[:2]))


def _draw_maps(path, captured, times, maps, key):
  scene, timing = captured.scene, captured.chain.setup.timing
  images = {"restored": jax.jit(captured.image_of)(times, key), "target": target_of(scene.radiance, timing)}
  views = {name: np.asarray(view(image, scene.color)) for name, image in images.items()}
  plots.derivative_maps(path / "maps.png", views, np.asarray(jnp.abs(maps).mean(-1)),
                        np.asarray(times) * SUBFRAME_RATE_HZ)


def main() -> None:
  """Reads the options and runs."""
  parser = scales.parser(__doc__, _NAME)
  parser.add_argument("--scene", type=int, default=0, help="which of the test scenes (%(default)s)")
  parser.add_argument("--speeds", type=float, nargs="+", default=[0.5, 1, 2],
                      help="multiples of the scene's speed (%(default)s)")
  parser.add_argument("--draws", type=int, default=16, help="noise draws (%(default)s)")
  parser.add_argument("--points", type=int, default=17, help="of the landscape, each way (%(default)s)")
  parser.add_argument("--noise_seed", type=int, default=0, help="of the noise (%(default)s)")
  args = scales.parse(parser)
  scales.report(lambda: _in_words(run(args)), args.workdir / _NAME)


def _in_words(found) -> str:
  lines = []
  for name, row in found["speeds"].items():
    cells = "  ".join(f"{mean:+.2e} ± {sd:.1e}" for mean, sd in zip(row["mean"], row["deviation"]))
    lines.append(f"speed {name}: dLoss/dt per 1/1920 s at {' '.join(f'{t:.1f}' for t in row['times'])}: {cells}")
  return "\n".join(lines)


if __name__ == "__main__":
  prepare_memory()
  main()
