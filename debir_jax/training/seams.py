"""What users hand in, checked before any work is done: a restorer, scenes and policies of their own."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from debir_jax.policies import Policy, is_pytree
from debir_jax.restoration import Restorer, apply_in_training
from debir_jax.runtime.files import folder_name
from debir_jax.runtime.protocols import check_hashable
from debir_jax.scenes import SceneSource
from debir_jax.training import comparison
from debir_jax.training.experiment import Experiment
from debir_jax.training.state import split_variables
from debir_jax.types import CameraColor, Observation

_HINT = ("JAX traces it once with placeholders for its arrays: use jax.numpy in the place of numpy, jnp.where or "
         "lax.cond in the place of `if` on values, and no float(), int() or .item() of an array.")


def check(experiment: Experiment, restorer: Restorer | None, scenes: Mapping[str, SceneSource],
          policies: Mapping[str, Policy]) -> None:
  """Checks that what is handed in can be traced, hashed, and gives what its Protocol says.

  Args:
    experiment: with the restorer and the scenes.
    restorer: that was handed in; None: the config's, which needs no check.
    scenes: that were handed in, by split.
    policies: by name.

  Raises:
    ValueError: with what to do.
  """
  for split, source in scenes.items():
    _check_scenes(split, source, experiment.config.data.crop_size)
  if restorer is not None:
    _check_restorer(experiment)
  _check_names(policies, experiment.setup.timing)
  for name, policy in policies.items():
    _check_policy(name, policy, experiment)


def _check_scenes(split, source, crop_size) -> None:
  scene, wanted = source.scene(0), (source.num_subframes, crop_size // 2, crop_size // 2, 4)
  if source.crop_size != crop_size or jnp.shape(scene.radiance) != wanted:
    raise ValueError(f"scenes[{split!r}] has scenes of {source.crop_size} px and radiance {jnp.shape(scene.radiance)}; "
                     f"config.data.crop_size={crop_size} and its num_subframes={source.num_subframes} want {wanted}.")


def _check_restorer(experiment) -> None:
  models, timing, side = experiment.models, experiment.setup.timing, experiment.config.data.crop_size // 2
  frames = jax.ShapeDtypeStruct((1, timing.num_frames, side, side, models.restorer_inputs.num_channels), jnp.float32)
  name = f"The restorer {type(models.restorer).__name__}"
  variables = _traced(name, models.restorer.init, jax.random.key(0), frames)
  if "params" not in variables:
    raise ValueError(f"{name}: init must return variables with a collection \"params\", which are trained, got "
                     f"{', '.join(variables) or 'none'}.")
  restored = _traced(name, models.restorer.apply, variables, frames)
  if restored.shape != (1, side, side, 4):
    raise ValueError(f"{name} gives an image {restored.shape} for frames {frames.shape}; expected "
                     f"{(1, side, side, 4)}, packed RAW [..., h, w, 4].")
  params, stats = split_variables(variables)
  try:
    _traced(name, lambda *given: apply_in_training(models.restorer, *given), params, stats, frames)
  except TypeError as error:
    raise ValueError(f"{name} has {', '.join(stats)} beside its \"params\", so training calls it with train=True, but: "
                     f"{str(error).splitlines()[0]}. Give its __call__ an argument train=False.") from error


def _check_names(names, timing) -> None:
  """Each needs a folder of its own, for its fine-tuned restorer."""
  taken = {folder_name(name): name for name in (comparison.OURS, *comparison.fixed_policies(timing))}
  for name in names:
    folder = folder_name(name)
    if not folder or folder in taken:
      raise ValueError(f"policies: the name {name!r} {f'is taken by {taken[folder]!r}' if folder else 'is none'}; "
                       f"choose one that differs in letters or digits from {', '.join(taken.values())}.")
    taken[folder] = name


def _check_policy(name, policy, experiment) -> None:
  if not is_pytree(policy):
    check_hashable(f"policies[{name!r}]", policy)
  timing, side = experiment.setup.timing, experiment.config.data.crop_size // 2
  observation = Observation(previews=jnp.full((2, side, side, 4), 0.25), preview_gain=jnp.array(700.0),
                            mean_flow_px=jnp.array(1.0), motion_magnitude=jnp.array(0.1), color=CameraColor.neutral())
  choose: Callable[..., Any] = lambda key, observation: policy(key, observation, timing)
  times = _traced(f"The policy {name!r}", choose, jax.random.key(0), observation)
  if jnp.shape(times) != (timing.num_frames,):
    raise ValueError(f"The policy {name!r} gives exposure times {jnp.shape(times)}; expected [{timing.num_frames}], s.")


def _traced(name, fn, *arguments):
  """Shapes of what a function returns, or a ValueError that says why it cannot be traced."""
  try:
    return jax.eval_shape(fn, *arguments)
  except (jax.errors.JAXTypeError, jax.errors.JAXIndexError) as error:
    reason = str(error).splitlines()[0]
    raise ValueError(f"{name} cannot be traced: {reason}\n{_HINT}") from error
