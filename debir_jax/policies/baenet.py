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

from debir_jax.policies.bounded_softmax import predict_exposure_times
from debir_jax.policies.mobilenet_v2 import MobileNetV2
from debir_jax.policies.policy import network_planes
from debir_jax.types import BurstTiming
from debir_jax.types import Observation

_SMALLEST_SIDE = 8  # px; less leaves nothing but padding after the first layers.


class BAENet(nn.Module):
  """MobileNetV2 with n + 1 outputs: `module.apply(variables, planes, train)`.

  2,231,141 parameters for 6 planes and n = 4. With `norm="batch"`, `train=True` normalises by the batch, needs
  `mutable=["batch_stats"]` and returns the new running statistics, and wants at least two images: statistics of the last
  layers come from few pixels (from one per image for packed previews up to 32x32). `train=False` uses the running
  statistics and no dropout. Dropout takes `rngs={"dropout": key}`.

  Attributes:
    num_frames: n.
    width: factor on the channels, for light networks.
    norm: "batch" or "group", see `MobileNetV2`.
    dropout_rate: in training only.
  """

  num_frames: int = 4
  width: float = 1.0
  norm: Literal["batch", "group"] = "batch"
  dropout_rate: float = 0.2

  @nn.compact
  def __call__(self, planes: jax.Array, train: bool) -> jax.Array:
    """Planes `[B, h, w, c]` of `network_planes` -> logits `[B, n + 1]`; the last one belongs to the slack.

    Raises:
      ValueError: if the planes have no batch axis or fewer than 8 px a side.
    """
    _check_planes(planes)
    network = MobileNetV2(self.num_frames + 1, self.width, self.norm, self.dropout_rate, name="mobilenet_v2")
    return network(planes, train)


def init_baenet(key: jax.Array, module: BAENet, num_planes: int = 6) -> dict[str, Any]:
  """Returns what `module.init` would draw, from the same distributions, in a small part of the time.

  Kernels are Xavier uniform, scales and running variances 1, biases and running means 0. All kernels are cut from one
  draw: the compiler takes 5 to 20 s on a CPU for the 53 random generators of `module.init`, below 1 s for a single one.
  """
  planes = jax.ShapeDtypeStruct((1, 32, 32, num_planes), jnp.float32)
  shapes = jax.eval_shape(lambda planes: module.init(key, planes, train=False), planes)
  return jax.jit(_draw_variables, static_argnums=(1, 2))(key, *_as_static(shapes))


def _as_static(shapes):
  """A tree of shapes as a hashable (paths and shapes, structure)."""
  leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
  return tuple((path[-1].key, leaf.shape) for path, leaf in leaves), structure


def _draw_variables(key, named_shapes, structure):
  sizes = [math.prod(shape) if name == "kernel" else 0 for name, shape in named_shapes]
  draws = jnp.split(jax.random.uniform(key, (sum(sizes),), minval=-1.0), [sum(sizes[:i]) for i in range(1, len(sizes))])
  leaves = []
  for (name, shape), draw in zip(named_shapes, draws, strict=True):
    if name == "kernel":
      leaves.append(draw.reshape(shape) * _xavier_bound(shape))
    else:
      leaves.append(jnp.ones(shape) if name in ("scale", "var") else jnp.zeros(shape))
  return jax.tree.unflatten(structure, leaves)


def _xavier_bound(shape: tuple[int, ...]) -> float:
  """Largest weight of a Xavier uniform kernel `[..., inputs, outputs]`."""
  return math.sqrt(6 / (math.prod(shape[:-2]) * (shape[-2] + shape[-1])))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class BAENetPolicy:
  """A BAENet with its weights, as a `Policy`. A pytree: pass it through `jit`, or close over it.

  Attributes:
    module: the network.
    variables: {"params": ..., "batch_stats": ...}.
    min_preview_gain: lower end of the range of preview gains that it is trained for, linear.
    slack_floor: see `bounded_softmax`.
    use_preview, use_gain, use_motion: see `network_planes`.
  """

  module: BAENet = dataclasses.field(metadata=dict(static=True))
  variables: Any
  min_preview_gain: float = dataclasses.field(metadata=dict(static=True))
  slack_floor: bool = dataclasses.field(default=False, metadata=dict(static=True))
  use_preview: bool = dataclasses.field(default=True, metadata=dict(static=True))
  use_gain: bool = dataclasses.field(default=True, metadata=dict(static=True))
  use_motion: bool = dataclasses.field(default=True, metadata=dict(static=True))

  def __call__(self, key: jax.Array, observation: Observation, timing: BurstTiming) -> jax.Array:
    """Exposure times `[n]` in seconds for one scene; BatchNorm uses its running statistics.

    Raises:
      ValueError: if the network is made for another burst length than `timing`.
    """
    del key
    if self.module.num_frames != timing.num_frames:
      raise ValueError(f"This BAENet predicts {self.module.num_frames} exposure times, the timing asks for "
                       f"{timing.num_frames}; use the network of that burst length.")
    logits = self.module.apply(self.variables, self.planes(observation)[None], train=False)[0]
    return predict_exposure_times(logits, timing, slack_floor=self.slack_floor)

  def planes(self, observation: Observation) -> jax.Array:
    """What this network sees of one scene, `[h, w, c]`."""
    return network_planes(observation, min_preview_gain=self.min_preview_gain, use_preview=self.use_preview,
                          use_gain=self.use_gain, use_motion=self.use_motion)


def _check_planes(planes: jax.Array):
  if planes.ndim != 4:
    raise ValueError(f"BAENet takes a batch of planes [B, h, w, c], got shape {planes.shape}; add an axis for one image.")
  if min(planes.shape[1:3]) < _SMALLEST_SIDE:
    raise ValueError(f"BAENet needs previews of at least {_SMALLEST_SIDE} packed px a side, got {planes.shape[1:3]}; "
                     "use larger crops.")
