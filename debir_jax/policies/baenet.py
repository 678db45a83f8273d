"""BAENet: exposure times of a burst from one preview, its gain and the motion (paper, Sec. 4.1).

`BAENet` is the network, planes in and logits out, for training; `init_baenet` its start; `BAENetPolicy` a trained
network as a `Policy`.
"""

import dataclasses
import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.policies.bae_inputs import BaeInputs
from debir_jax.policies.digital_gimbal import DigitalGimbal
from debir_jax.policies.exposure_predictor import ExposurePredictor
from debir_jax.policies.mobilenet_v2 import BLOCKS, MobileNetV2
from debir_jax.types import BurstTiming, Observation

_SMALLEST_SIDE = 8  # px; less leaves nothing but padding after the first layers.


class BAENet(ExposurePredictor, nn.Module):
  """MobileNetV2 with n + 1 outputs: `module.apply(variables, planes, train)`.

  2,231,141 parameters for 6 planes and n = 4, 2,230,853 for the 5 planes of the release. Dropout takes a key for every
  image, `dropout_keys=keys`. With `norm="batch"`, `train=True` normalises by the batch, needs `mutable=["batch_stats"]`
  and returns the new running statistics; `train=False` uses the running ones. Batches want several images: packed
  previews up to 32x32 have one pixel each in the last layers, and over few values BatchNorm is so steep that training
  is erratic. `LIGHT_BLOCKS` with `classifier_scale=0` learns there.

  Attributes:
    num_frames: n.
    width: factor on the channels, for light networks.
    norm: "batch" or "group", see `MobileNetV2`.
    dropout_rate: in training only.
    blocks: the table of the architecture; `mobilenet_v2.LIGHT_BLOCKS` for previews of 32 px.
    classifier_scale: factor on the first weights of the last layer; 0 starts at equal shares for every scene.
    axis_name: of the devices that a training batch is spread over, see `MobileNetV2`.
    uniform_exposure: predict a single exposure time for all frames, a share of t_u / n (paper, Table 1): two outputs,
      which become logits that are equal for all frames.
  """

  num_frames: int = 4
  width: float = 1.0
  norm: Literal["batch", "group"] = "batch"
  dropout_rate: float = 0.2
  blocks: tuple[tuple[int, int, int, int], ...] = BLOCKS
  classifier_scale: float = 1.0
  axis_name: str | None = None
  uniform_exposure: bool = False
  slack_floor: bool = False

  @property
  def num_outputs(self) -> int:
    """Size of the last layer."""
    return 2 if self.uniform_exposure else self.num_frames + 1

  @nn.compact
  def __call__(self, planes: jax.Array, train: bool, dropout_keys: jax.Array | None = None) -> jax.Array:
    """Planes `[B, h, w, c]` of `BaeInputs` -> logits `[B, n + 1]`; the last one belongs to the slack.

    Raises:
      ValueError: if the planes have no batch axis or fewer than 8 px a side; or keys for dropout are missing.
    """
    _check_planes(planes)
    network = MobileNetV2(self.num_outputs, self.width, self.norm, self.dropout_rate, self.blocks,
                          self.classifier_scale, self.axis_name, name="mobilenet_v2")
    logits = network(planes, train, dropout_keys)
    if not self.uniform_exposure:
      return logits
    # n frames of this weight together weigh as much as the single output: t = t_u / n (eps + (1 - eps) sigmoid).
    frames = logits[:, :1] - math.log(self.num_frames)
    return jnp.concatenate([jnp.repeat(frames, self.num_frames, axis=1), logits[:, 1:]], axis=1)


def init_baenet(key: jax.Array, module: BAENet | DigitalGimbal, *, num_planes: int = 6) -> dict[str, Any]:
  """Returns what `module.init` would draw, from the same distributions, in a small part of the time.

  Kernels are Xavier uniform (the last one times `classifier_scale`), scales and running variances 1, the rest 0. All
  kernels are cut from one draw: for the 53 random generators of `module.init` the compiler takes 5 to 20 s on a CPU.
  """
  if isinstance(module, DigitalGimbal):
    return module.init(key, jnp.zeros((1, 1, 1, num_planes)), train=False)
  planes = jax.ShapeDtypeStruct((1, 32, 32, num_planes), jnp.float32)
  shapes = jax.eval_shape(lambda planes: module.init(key, planes, train=False), planes)
  paths_and_shapes, structure = jax.tree_util.tree_flatten_with_path(shapes)
  leaves = tuple((path[-2].key, path[-1].key, leaf.shape) for path, leaf in paths_and_shapes)
  drawn = jax.jit(_draw_leaves, static_argnums=(1, 2))(key, leaves, module.classifier_scale)
  return jax.tree.unflatten(structure, drawn)


def _draw_leaves(key, leaves, classifier_scale):
  """First values of leaves given as (layer, name, shape)."""
  ends = np.cumsum([math.prod(shape) if name == "kernel" else 0 for _, name, shape in leaves])
  draws = jnp.split(jax.random.uniform(key, (int(ends[-1]),), minval=-1.0), ends[:-1])

  def value(layer, name, shape, draw):
    if name != "kernel":
      return jnp.ones(shape) if name in ("scale", "var") else jnp.zeros(shape)
    factor = classifier_scale if layer == "classifier" else 1.0
    return draw.reshape(shape) * (factor * _xavier_bound(shape))

  return [value(*leaf, draw) for leaf, draw in zip(leaves, draws, strict=True)]


def _xavier_bound(shape: tuple[int, ...]) -> float:
  """Largest weight of a Xavier uniform kernel `[..., inputs, outputs]`."""
  return math.sqrt(6 / (math.prod(shape[:-2]) * (shape[-2] + shape[-1])))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class BAENetPolicy:
  """A BAENet, or what takes its place, with its weights, as a `Policy`. A pytree: pass it through `jit` or close over
  it.

  Attributes:
    module: the network.
    variables: {"params": ..., "batch_stats": ...}.
    inputs: what it sees.
  """

  module: BAENet | DigitalGimbal = dataclasses.field(metadata=dict(static=True))
  variables: Any
  inputs: BaeInputs = dataclasses.field(metadata=dict(static=True))

  def for_frames(self, num_frames: int) -> "BAENetPolicy":
    """The same, held to bursts of so many frames; see `ExposurePredictor.for_frames`."""
    return dataclasses.replace(self, module=self.module.for_frames(num_frames))

  def __call__(self, key: jax.Array, observation: Observation, timing: BurstTiming) -> jax.Array:
    """Exposure times `[n]` in seconds for one scene; BatchNorm uses its running statistics.

    Raises:
      ValueError: if the network is made for another burst length than `timing`.
    """
    del key
    if self.module.num_frames != timing.num_frames:
      raise ValueError(f"This BAENet predicts {self.module.num_frames} exposure times, the timing asks for "
                       f"{timing.num_frames}; use the network of that burst length.")
    logits = self.module.apply(self.variables, self.inputs(observation)[None], train=False)[0]
    return self.module.exposure_times(logits, timing)


def _check_planes(planes: jax.Array):
  if planes.ndim != 4:
    raise ValueError(f"BAENet takes a batch of planes [B, h, w, c], got shape {planes.shape}; "
                     "add an axis for one image.")
  if min(planes.shape[1:3]) < _SMALLEST_SIDE:
    raise ValueError(f"BAENet needs planes of at least {_SMALLEST_SIDE} px a side, got {planes.shape[1:3]}; "
                     "use larger crops.")
