"""A run with one number per network, so that the laws of the loop can be tested without compiling a network."""

import types

import jax
import jax.numpy as jnp
import ml_collections

from debir_jax.training.guard import Limits
from debir_jax.training.state import TrainState

COMPATIBILITY = dict(
    restoration=dict(architecture=dict(num_features=8), trained_for=dict(noise="iso")),
    bae=dict(architecture=dict(width=1.0), trained_for=dict(noise="iso", motion=dict(estimator="lk"))))


def toy_state(value: float = 1.0) -> TrainState:
  """A state whose leaves all differ."""
  leaf = lambda offset: {"kernel": jnp.full((2, 3), value + offset)}
  return TrainState(step=jnp.zeros((), jnp.int32), restoration_params=leaf(1), restoration_stats={},
                    bae_params=leaf(2), bae_stats={},
                    optimizer_states=dict(restoration=leaf(3), bae=leaf(4), finetune=leaf(5)))


def toy_config(**overrides) -> ml_collections.ConfigDict:
  """The fields that the loop reads."""
  config = ml_collections.ConfigDict(dict(
      seed=0, log_every_steps=2, checkpoint_every_steps=3, keep_every_steps=None, resume_from="",
      data=dict(cache=False), profile=dict(first_step=1, num_steps=0),
      guard=dict(on_nonfinite="stop", on_bad_batch="skip", max_bad_steps=3, on_collapse="log", min_times_spread=0.02,
                 min_alternate_frame_sensitivity=1e-4, collapse_after=0.2),
      stage1=dict(num_steps=10, learning_rate=0.1)))
  config.update(overrides)
  return config


class _Numbers:
  """Batches: the numbers from a first step onwards, without any waiting."""

  wait_s, replaced = 0.0, 0

  def __init__(self, first_step):
    self.step = first_step

  def __next__(self):
    self.step += 1
    return self.step - 1

  def close(self):
    pass


def toy_experiment(config: ml_collections.ConfigDict | None = None):
  """What the loop needs of an experiment; batch s is the number s."""
  copy = lambda state: jax.tree.map(jnp.copy, state)
  return types.SimpleNamespace(
      config=config or toy_config(), compatibility=COMPATIBILITY, limits=Limits(max_grad_norm=1e6), place=copy,
      local_copy=copy,
      batches=lambda split, first_step: _Numbers(first_step),
      watch=lambda state, policy_of: (
          dict(watched_psnr=float(state.restoration_params["kernel"].mean()), alternate_frame_sensitivity=1.0), {}))


@jax.jit
def _moved(params, batch):
  return jax.tree.map(lambda p: jnp.sin(p * 1.1 + batch), params)


def toy_step(state: TrainState, batch: int):
  """A chaotic but deterministic update that depends on the batch; the loss is its mean."""
  params = _moved(state.restoration_params, batch)
  loss = params["kernel"].mean()
  scenes = dict(scene_id=jnp.array([batch]), loss=loss[None], mean_intensity=jnp.array([0.5]),
                saturated_fraction=jnp.array([0.0]))
  outputs = dict(loss=loss, grad_norm=jnp.abs(loss), usual_grad_norm=jnp.abs(loss), psnr=loss, applied=jnp.ones(()),
                 scenes=scenes, exposure_times=jnp.full((1, 4), 0.01))
  return state.replace(step=state.step + 1, restoration_params=params), outputs
