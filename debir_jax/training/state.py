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
    restoration_params, bae_params: phi and theta.
    restoration_stats, bae_stats: the collections beside "params", such as {"batch_stats": ...} with BatchNorm; {}.
    optimizer_states: one per name in `OPTIMIZERS`: restoration pre-training, BAENet, restoration fine-tuning.
  """

  step: jax.Array
  restoration_params: Any
  restoration_stats: dict[str, Any]
  bae_params: Any
  bae_stats: dict[str, Any]
  optimizer_states: dict[str, Any]

  @property
  def restoration_variables(self) -> dict[str, Any]:
    """What `Restorer.apply` takes."""
    return {"params": self.restoration_params, **self.restoration_stats}

  @property
  def bae_variables(self) -> dict[str, Any]:
    """What the module of BAENet takes."""
    return {"params": self.bae_params, **self.bae_stats}

  def part(self, network: str, optimizer: str) -> dict[str, Any]:
    """Params, stats and optimizer state of "restoration" or "bae"."""
    return dict(params=getattr(self, f"{network}_params"), stats=getattr(self, f"{network}_stats"),
                opt_state=self.optimizer_states[optimizer])

  def with_part(self, network: str, optimizer: str, part: dict[str, Any]) -> "TrainState":
    """The state with what `part` gives replaced."""
    return self.replace(**{f"{network}_params": part["params"], f"{network}_stats": part["stats"]},
                        optimizer_states={**self.optimizer_states, optimizer: part["opt_state"]})


def create_state(key: jax.Array, models: Models, optimizers: dict, timing: BurstTiming, crop_size: int) -> TrainState:
  """Initialises both networks and the three optimizer states.

  Args:
    key: PRNG key.
    models: see `config/networks.py`.
    optimizers: an optax transformation per name in `OPTIMIZERS`.
    timing: for the number of frames.
    crop_size: side of the mosaic, px.
  """
  restoration_key, bae_key = jax.random.split(key)
  side = crop_size // 2
  frames = jnp.zeros((1, timing.num_frames, side, side, models.restorer_inputs.num_channels))
  # Compiled as one: the network itself is no part of what comes out, and op by op a GPU would tune its convolutions.
  restoration_params, restoration_stats = split_variables(jax.jit(models.restorer.init)(restoration_key, frames))
  bae_params, bae_stats = split_variables(init_baenet(bae_key, models.bae, num_planes=models.bae_inputs.num_channels))
  moved = dict(restoration=restoration_params, bae=bae_params, finetune=restoration_params)
  return TrainState(
      step=jnp.zeros((), jnp.int32), restoration_params=restoration_params, restoration_stats=restoration_stats,
      bae_params=bae_params, bae_stats=bae_stats,
      optimizer_states={name: optimizers[name].init(moved[name]) for name in OPTIMIZERS})


def parts_of(state: TrainState) -> dict[str, Any]:
  """The state as parts that are saved, and loaded, on their own."""
  states = state.optimizer_states
  return dict(
      progress=dict(step=state.step),
      restoration=dict(params=state.restoration_params, stats=state.restoration_stats,
                       opt_state={name: states[name] for name in ("restoration", "finetune")}),
      bae=dict(params=state.bae_params, stats=state.bae_stats, opt_state=states["bae"]))


def with_parts(state: TrainState, parts: dict[str, Any]) -> TrainState:
  """The state with some parts replaced; inverse of `parts_of`."""
  if "progress" in parts:
    state = state.replace(step=parts["progress"]["step"])
  if "restoration" in parts:
    part = parts["restoration"]
    state = state.replace(restoration_params=part["params"], restoration_stats=part["stats"],
                          optimizer_states={**state.optimizer_states, **part["opt_state"]})
  if "bae" in parts:
    part = parts["bae"]
    state = state.replace(bae_params=part["params"], bae_stats=part["stats"],
                          optimizer_states={**state.optimizer_states, "bae": part["opt_state"]})
  return state


def split_variables(variables: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
  """Params, and all other collections."""
  return variables["params"], {name: tree for name, tree in variables.items() if name != "params"}
