"""BAENet: exposure times of a burst from one preview, its gain and the motion (paper, Sec. 4.1).

`BAENet` is the network, planes in and logits out, for training; `BAENetPolicy` is a trained network as a `Policy`.
"""

import dataclasses
from typing import Any, Literal

import flax.linen as nn
import jax

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
