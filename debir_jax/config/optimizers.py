"""AdamW and its learning rates, made of optax, in a form that lets one compiled step serve every stage.

The learning rate is not baked into the optimizer: it is an argument of the compiled step. Stage 1, stage 3 and the
fine-tuning of every baseline then share one program.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax

_NORM_DECAY = 0.999
_MIN_STEPS = 20


def optimizers_of(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """The three optimizers of `state.OPTIMIZERS`."""
  restoration = adamw_direction(**config.restoration_optimizer)
  return dict(restoration=restoration, finetune=restoration, bae=adamw_direction(**config.bae_optimizer))


def cosine_schedule(initial: float, final: float, num_steps: int, warmup_steps: int = 0) -> optax.Schedule:
  """Learning rate by step, counted from 0: cosine annealing from `initial` to `final`, which stays afterwards.

  Args:
    initial, final: learning rates.
    num_steps: of the whole stage.
    warmup_steps: over which the rate rises linearly beside that, 1/n of it in the first step; 0: none, as in the paper.

  Raises:
    ValueError: a rate that is not positive, or no step.
  """
  if not 0 < initial < float("inf") or not 0 <= final < float("inf") or num_steps < 1 or warmup_steps < 0:
    raise ValueError(f"A schedule wants a positive learning_rate and num_steps, got learning_rate={initial}, "
                     f"final_learning_rate={final}, num_steps={num_steps} and lr_warmup_steps={warmup_steps}.")
  return lambda step: _cosine_rate(step, initial, final, num_steps, warmup_steps)


# Written out, with its numbers as arguments: optax's own schedules round the last digit otherwise, and at high rates
# training amplifies that until no number of an earlier run comes back.
@jax.jit
def _cosine_rate(step, initial, final, num_steps, warmup_steps):
  decayed = final + (initial - final) * (1 + jnp.cos(jnp.pi * jnp.clip(step / num_steps, 0, 1))) / 2
  warmup = jnp.minimum((step + 1) / jnp.maximum(warmup_steps, 1), 1)
  return decayed * jnp.where(warmup_steps > 0, warmup, 1)


def adamw_direction(*, clip_norm: float | None, weight_decay: float, decay_all: bool = False,
                    offset_rate: float = 1.0, beta2: float = 0.999):
  """AdamW without its learning rate: multiply by minus the rate and add to the parameters.

  Args:
    clip_norm: largest global norm of the gradient; None: no clipping.
    weight_decay: decoupled weight decay (AdamW).
    decay_all: decay every parameter, as torch's AdamW does; default: kernels only.
    offset_rate: learning rate of the convolutions that say where deformable convolutions read, relative to all others.
      At high rates their offsets can leave the image within a few steps, and from there no gradient leads back.
    beta2: decay of Adam's second moment. With gradients whose largest are forty times their median, 0.999 remembers a
      single one for a thousand steps.

  Raises:
    ValueError: `offset_rate` is not a positive number, or `beta2` not from 0 to below 1.

  Returns:
    An optax transformation; its state also holds how large gradients usually are, see `usual_grad_norm`.
  """
  clip = optax.identity() if clip_norm is None else optax.clip_by_global_norm(clip_norm)
  decay = optax.add_decayed_weights(weight_decay, mask=None if decay_all else _is_kernel)
  if not 0 < offset_rate < float("inf"):
    raise ValueError(f"config.restoration_optimizer.offset_rate={offset_rate} must be a positive number.")
  if not 0 <= beta2 < 1:
    raise ValueError(f"beta2={beta2} must be from 0 to below 1.")
  slow_offsets = optax.masked(optax.scale(offset_rate), _is_offset)
  return optax.chain(_follow_grad_norm(), clip, optax.scale_by_adam(b2=beta2), decay, slow_offsets)


def usual_grad_norm(opt_state) -> jax.Array:
  """Mean norm of the gradient over about the last thousand steps, before clipping, of an optimizer state.

  Infinite where nothing is known: until there were 20 steps, where all gradients were 0, and for optimizers other than
  `adamw_direction`.
  """
  history = optax.tree_utils.tree_get(opt_state, "grad_norm_history")
  if history is None:
    return jnp.array(jnp.inf)
  mean = history["mean"] / (1 - _NORM_DECAY ** jnp.maximum(history["count"], 1))
  return jnp.where((history["count"] < _MIN_STEPS) | (mean == 0), jnp.inf, mean)


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


def _is_offset(params):
  is_offset = lambda path, _: any(getattr(key, "key", None) == "offset_conv" for key in path)
  return jax.tree_util.tree_map_with_path(is_offset, params)
