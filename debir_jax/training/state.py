"""What training changes: two networks and three optimizer states."""

from typing import Any

from flax import struct
import jax
import jax.numpy as jnp

from debir_jax.config.networks import Models
from debir_jax.policies import init_baenet
from debir_jax.types import BurstTiming

OPTIMIZERS = ("restoration", "bae", "finetune")


class TrainState(struct.PyTreeNode):
  """One state for all stages; a stage moves a part of it.

  Attributes:
    step: steps done in the current stage.
    restoration_params: phi.
    bae_params, bae_stats: theta, and the statistics of BatchNorm (empty with GroupNorm).
    optimizer_states: one per name in `OPTIMIZERS`: restoration pre-training, BAENet, restoration fine-tuning.
  """

  step: jax.Array
  restoration_params: Any
  bae_params: Any
  bae_stats: Any
  optimizer_states: dict[str, Any]


def create_state(key: jax.Array, models: Models, optimizers: dict, timing: BurstTiming, crop_size: int) -> TrainState:
  """Initialises both networks and the three optimizer states.

  Args:
    key: PRNG key.
    models: see `config`.
    optimizers: an optax transformation per name in `OPTIMIZERS`.
    timing: for the number of frames.
    crop_size: side of the mosaic, px.
  """
  restoration_key, bae_key = jax.random.split(key)
  side = crop_size // 2
  frames = jnp.zeros((1, timing.num_frames, side, side, models.burst_planes.num_channels))
  # Compiled as one: the network itself is no part of what comes out, and op by op a GPU would tune its convolutions.
  restoration_params = jax.jit(models.restorer.init)(restoration_key, frames)["params"]
  bae = init_baenet(bae_key, models.bae, num_planes=models.num_planes)
  moved = dict(restoration=restoration_params, bae=bae["params"], finetune=restoration_params)
  return TrainState(
      step=jnp.zeros((), jnp.int32), restoration_params=restoration_params, bae_params=bae["params"],
      bae_stats=bae.get("batch_stats", {}),
      optimizer_states={name: optimizers[name].init(moved[name]) for name in OPTIMIZERS})


def parts_of(state: TrainState) -> dict[str, Any]:
  """The state as parts that are saved, and loaded, on their own."""
  moments = state.optimizer_states
  return dict(
      progress=dict(step=state.step),
      restoration=dict(params=state.restoration_params,
                       moments={name: moments[name] for name in ("restoration", "finetune")}),
      bae=dict(params=state.bae_params, stats=state.bae_stats, moments=moments["bae"]))


def with_parts(state: TrainState, parts: dict[str, Any]) -> TrainState:
  """The state with some parts replaced; inverse of `parts_of`."""
  if "progress" in parts:
    state = state.replace(step=parts["progress"]["step"])
  if "restoration" in parts:
    state = state.replace(restoration_params=parts["restoration"]["params"],
                          optimizer_states={**state.optimizer_states, **parts["restoration"]["moments"]})
  if "bae" in parts:
    state = state.replace(bae_params=parts["bae"]["params"], bae_stats=parts["bae"]["stats"],
                          optimizer_states={**state.optimizer_states, "bae": parts["bae"]["moments"]})
  return state
