"""AdamW with cosine decay, split so that one compiled step serves every stage.

The learning rate is not baked into the optimizer: it is computed from the step and a `CosineDecay`, whose numbers are
arguments of the compiled program. Stage 1, stage 3 and the fine-tuning of every baseline then share one program.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax

_NORM_DECAY = 0.999
_MIN_STEPS = 20


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CosineDecay:
  """Cosine annealing from `initial` to `final` over `num_steps`, after a linear rise over `rise_steps`.

  Attributes:
    initial, final: learning rates.
    num_steps: steps of the whole stage; constant `final` afterwards.
    rise_steps: steps over which the rate rises from 0 (0: none, as in the paper).
  """

  initial: float
  final: float
  num_steps: int
  rise_steps: int = 0

  def learning_rate(self, step: jax.Array) -> jax.Array:
    """Learning rate of the step with this index, counted from 0."""
    progress = jnp.clip(step / self.num_steps, 0, 1)
    decayed = self.final + (self.initial - self.final) * (1 + jnp.cos(jnp.pi * progress)) / 2
    rise = jnp.minimum((step + 1) / jnp.maximum(self.rise_steps, 1), 1)
    return decayed * jnp.where(self.rise_steps > 0, rise, 1)


def optimizers_of(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """The three optimizers of `state.OPTIMIZERS`."""
  restoration = adamw_direction(**config.restoration_optimizer)
  return dict(restoration=restoration, finetune=restoration, bae=adamw_direction(**config.bae_optimizer))


def adamw_direction(*, clip_norm: float | None, weight_decay: float, decay_all: bool = False,
                    offset_rate: float = 1.0):
  """AdamW without its learning rate: multiply by minus the rate and add to the parameters.

  Args:
    clip_norm: largest global norm of the gradient; None: no clipping.
    weight_decay: decoupled weight decay (AdamW).
    decay_all: decay every parameter, as torch's AdamW does; default: kernels only.
    offset_rate: learning rate of the convolutions that say where deformable convolutions read, relative to all others.
      At high rates their offsets can leave the image within a few steps, and from there no gradient leads back.

  Raises:
    ValueError: `offset_rate` is not a positive number.

  Returns:
    An optax transformation; its state also holds how large gradients usually are, see `usual_grad_norm`.
  """
  clip = optax.identity() if clip_norm is None else optax.clip_by_global_norm(clip_norm)
  decay = optax.add_decayed_weights(weight_decay, mask=None if decay_all else _is_kernel)
  if not 0 < offset_rate < float("inf"):
    raise ValueError(f"config.restoration_optimizer.offset_rate={offset_rate} must be a positive number.")
  # Not a part at rate 1: checkpoints of earlier versions have no place for it.
  slow_down = optax.stateless(lambda direction, _: _scale_offsets(direction, offset_rate))
  parts = [_follow_grad_norm(), clip, optax.scale_by_adam(), decay]
  return optax.chain(*parts, *([] if offset_rate == 1 else [slow_down]))


def usual_grad_norm(moments) -> jax.Array:
  """Mean norm of the gradient over about the last thousand steps, before clipping, of an optimizer state.

  Infinite where nothing is known: until there were 20 steps, where all gradients were 0, and for optimizers other than
  `adamw_direction`.
  """
  history = optax.tree_utils.tree_get(moments, "grad_norm_history")
  if history is None:
    return jnp.array(jnp.inf)
  mean = history["mean"] / (1 - _NORM_DECAY ** jnp.maximum(history["count"], 1))
  return jnp.where((history["count"] < _MIN_STEPS) | (mean == 0), jnp.inf, mean)


def apply_direction(params, direction, learning_rate):
  """One descent step along an `adamw_direction`."""
  return jax.tree.map(lambda p, d: p - (learning_rate * d).astype(p.dtype), params, direction)


class _NormState(NamedTuple):
  """`count` steps, and a running mean of their gradients' norms that began at 0."""

  grad_norm_history: dict[str, jax.Array]


def _follow_grad_norm():
  def update(gradient, state, params=None):
    del params
    history = state.grad_norm_history
    mean = _NORM_DECAY * history["mean"] + (1 - _NORM_DECAY) * optax.global_norm(gradient)
    return gradient, _NormState(dict(count=history["count"] + 1, mean=mean.astype(jnp.float32)))

  init = lambda params: _NormState(dict(count=jnp.zeros((), jnp.int32), mean=jnp.zeros((), jnp.float32)))
  return optax.GradientTransformation(init, update)


def _is_kernel(params):
  return jax.tree_util.tree_map_with_path(lambda path, _: str(path[-1].key).endswith("kernel"), params)


def _scale_offsets(direction, factor):
  is_offset = lambda path: any(getattr(key, "key", None) == "offset_conv" for key in path)
  return jax.tree_util.tree_map_with_path(lambda path, d: factor * d if is_offset(path) else d, direction)
