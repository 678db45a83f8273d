"""Steps of small networks on meshes of 1 and 8 devices of this machine; run as a process of its own by `mesh_test.py`.

Prints one JSON object: how far gradients, losses and predictions differ, and what the compiled programs hold.
"""

import dataclasses
import json
import re

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_enable_x64", True)

import flax.linen as nn  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402

from debir_jax.config.networks import Models  # noqa: E402
from debir_jax.config.optimizers import CosineDecay, adamw_direction  # noqa: E402
from debir_jax.evaluation import Evaluator, Method  # noqa: E402
from debir_jax.policies import LIGHT_BLOCKS, BAENet, BAENetPolicy, init_baenet, network_planes, uniform  # noqa: E402
from debir_jax.restoration import Burstormer, BurstPlanes  # noqa: E402
from debir_jax.runtime import mesh as mesh_lib  # noqa: E402
from debir_jax.simulator import CaptureSetup, PoissonGaussianNoise  # noqa: E402
from debir_jax.training.state import TrainState  # noqa: E402
from debir_jax.training.step import Steps  # noqa: E402
from debir_jax.types import BurstTiming, CameraColor, Scene  # noqa: E402

_BATCH, _SIDE = 16, 16
_TIMING = BurstTiming.paper()
_KEY = jax.random.key(3)


@dataclasses.dataclass(frozen=True)
class DifferenceAsFlow:
  """A flow estimator that compiles in no time."""

  name = "difference"
  preview_size = "binned"

  def apply(self, variables, image1, image2):
    return (image2 - image1)[..., :2]


class WeightedMean(nn.Module):
  """The smallest restorer: a learned weight for every frame."""

  @nn.compact
  def __call__(self, raw):
    weights = self.param("kernel", lambda key: jnp.array([0.4, 0.3, 0.2, 0.1]))
    return jnp.einsum("n,...nhwc->...hwc", weights.astype(raw.dtype), raw)


def _models(restorer, norm="batch"):
  """With BatchNorm and dropout: both must not see where the batch is cut."""
  bae = BAENet(blocks=LIGHT_BLOCKS[:2], width=0.5, dropout_rate=0.2, norm=norm, axis_name=mesh_lib.AXIS)
  planes = lambda observation: network_planes(observation, min_preview_gain=16.0)
  return Models(restorer=restorer, burst_planes=BurstPlanes(), bae=bae, planes=planes, num_planes=6,
                slack_floor=False, flow_estimator=DifferenceAsFlow(), flow_variables={}, full_scale_px_per_s=400.0)


def _steps(models, num_devices, optimizer=optax.identity(), **options):
  setup = CaptureSetup(timing=_TIMING, noise_model=PoissonGaussianNoise(1e-5, 1e-9), min_preview_gain=16.0,
                       max_preview_gain=32.0)
  return Steps(models, setup, dict.fromkeys(("restoration", "bae", "finetune"), optimizer),
               mesh=mesh_lib.make_mesh(num_devices), **options)


def _scenes(mesh, dtype):
  time = jnp.arange(_TIMING.num_subframes(_TIMING.num_frames * _TIMING.max_exposure_s)) / 40  # For any random times.
  phase, speed, amplitude = jax.random.uniform(jax.random.key(1), (3, _BATCH, 1, _SIDE, _SIDE, 4), dtype)
  radiance = 0.4 + 0.2 * amplitude * jnp.sin(time[:, None, None, None] * (1 + speed) + 6 * phase)
  colour = CameraColor(white_balance=jnp.ones((_BATCH, 3)), ccm=jnp.broadcast_to(jnp.eye(3), (_BATCH, 3, 3)))
  scenes = Scene(radiance=radiance.astype(dtype), colour=colour, scene_id=jnp.arange(_BATCH))
  return jax.device_put(scenes, mesh_lib.by_example(mesh))


def _state(models, dtype, optimizer=optax.identity()):
  cast = lambda tree: jax.tree.map(lambda x: x.astype(dtype), tree)
  bae = cast(init_baenet(jax.random.key(0), models.bae))
  restoration = cast(models.restorer.init(jax.random.key(1), jnp.zeros((1, 4, _SIDE, _SIDE, 4)))["params"])
  moved = dict(restoration=restoration, bae=bae["params"], finetune=restoration)
  return TrainState(step=jnp.zeros((), jnp.int32), restoration_params=restoration, bae_params=bae["params"],
                    bae_stats=bae.get("batch_stats", {}),
                    optimizer_states={name: optimizer.init(params) for name, params in moved.items()})


def _take(steps, name, state, scenes, decay):
  shots = steps.shots(_KEY, state.step, _BATCH)
  if name == "restoration":
    return steps.restoration(state, "finetune", scenes, shots, steps.random_exposure_times(shots), decay)
  if name == "warmup":
    return steps.warmup(state, scenes, shots, jnp.full((_BATCH, 4), 24 / 1920), decay)
  return steps.exposure(state, scenes, shots, decay)


def _host(tree):
  return jax.tree.map(np.asarray, tree)


def gradients(restorer, names, meshes, norm="batch"):
  """Largest difference of a step's new state and outputs from those on one device, relative to the gradient's size.

  The rate is 1 and the "optimizer" returns the gradient, so that a step shows the gradient it took.
  """
  models, decay = _models(restorer, norm), CosineDecay(1.0, 1.0, 10)
  results = {}
  for name in names:
    before, expected = _host(_state(models, jnp.float64)), None
    for title, num_devices, options in [("one", 1, {}), *meshes]:
      steps = _steps(models, num_devices, **options)
      mesh = mesh_lib.make_mesh(num_devices)
      state = mesh_lib.place(_state(models, jnp.float64), mesh, options.get("shard_state", False))
      after = _host(_take(steps, name, state, _scenes(mesh, jnp.float64), decay))
      if expected is None:
        expected = after
        moved = lambda state: [*jax.tree.leaves(state.restoration_params), *jax.tree.leaves(state.bae_params)]
        size = max(np.abs(new - old).max() for new, old in zip(moved(after[0]), moved(before)))
        assert size > 1e-6, f"{name} took no gradient"
      else:
        worst = max(np.abs(new - old).max()
                    for new, old in zip(jax.tree.leaves(after[0]), jax.tree.leaves(expected[0])))
        outputs = max(np.max(np.abs(new - old) / (np.abs(old) + 1e-9))
                      for new, old in zip(jax.tree.leaves(after[1]), jax.tree.leaves(expected[1])))
        results[f"{name}, {title}"] = dict(gradient=float(worst / size), outputs=float(outputs))
  return results


def programs(num_steps=4):
  """Of stage 2 with AdamW in float32: its first losses on 1 and 8 devices, and what the compiled step holds.

  Kinds and numbers of collectives, callbacks, arguments that are given away, arrays of the state that are cut.
  """
  optimizer = adamw_direction(clip_norm=1.0, weight_decay=0.01)
  models, decay, found = _models(WeightedMean()), CosineDecay(1e-3, 1e-4, 10), {}
  for title, num_devices, shard_state in (("one", 1, False), ("copies", 8, False), ("sharded", 8, True)):
    steps, mesh = _steps(models, num_devices, optimizer, shard_state=shard_state), mesh_lib.make_mesh(num_devices)
    state = mesh_lib.place(_state(models, jnp.float32, optimizer), mesh, shard_state)
    scenes, losses = _scenes(mesh, jnp.float32), []
    step = jax.jit(lambda *arguments, steps=steps: steps.exposure(*arguments, decay), donate_argnums=0).lower(
        state, scenes, steps.shots(_KEY, state.step, _BATCH)).compile()
    cut = sum(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state))
    for _ in range(num_steps):
      state, outputs = step(state, scenes, steps.shots(_KEY, state.step, _BATCH))
      losses.append(float(outputs["loss"]))
    text = step.as_text()
    kinds = re.findall(r"= \S+ (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(", text)
    found[title] = dict(
        losses=losses, collectives={kind: kinds.count(kind) for kind in set(kinds)}, callbacks=text.count("callback"),
        aliases=text.split("\n", 1)[0].count("alias)"), num_leaves=len(jax.tree.leaves(state)), cut=cut)
  return found


class BatchesSeen(WeightedMean):
  """Notes how many bursts it is given at a time."""

  seen = []

  @nn.compact
  def __call__(self, raw):
    self.seen.append(raw.shape[0])
    return WeightedMean(name="inner")(raw)


def evaluation():
  """Scores of 13 scenes on 1 and 8 devices, with a batch size that 8 does not divide, and how a batch was shared."""
  setup = CaptureSetup(timing=_TIMING, noise_model=PoissonGaussianNoise(1e-5, 1e-9), min_preview_gain=16.0,
                       max_preview_gain=32.0)
  scenes = jax.tree.map(lambda leaf: leaf[:13], jax.device_put(_scenes(mesh_lib.make_mesh(1), jnp.float32)))
  restorer, found = BatchesSeen(), {}
  params = restorer.init(jax.random.key(1), jnp.zeros((1, 4, _SIDE, _SIDE, 4)))["params"]
  bae = _models(restorer).bae
  policies = dict(fixed=uniform(24 / 1920), bae=BAENetPolicy(
      module=bae, variables=init_baenet(jax.random.key(0), bae), min_preview_gain=16.0))
  for num_devices in (1, 8):
    restorer.seen.clear()
    evaluator = Evaluator(restorer, setup, DifferenceAsFlow(), batch_size=10, devices=jax.devices()[:num_devices])
    methods = [Method(name, policy, params) for name, policy in policies.items()]
    records = sorted(evaluator.evaluate(methods, scenes), key=lambda record: (record.method, record.scene_id))
    found[num_devices] = dict(seen=sorted(set(restorer.seen)), psnr=[record.psnr for record in records],
                              of=[(record.method, record.scene_id) for record in records])
  return found


if __name__ == "__main__":
  eight = [("eight", 8, {}), ("eight, sharded state", 8, dict(shard_state=True))]
  result = gradients(WeightedMean(), ("restoration", "exposure"), eight)
  result |= gradients(WeightedMean(), ("warmup",), eight[:1])
  result |= gradients(WeightedMean(), ("exposure",), [("eight, microbatches", 8, dict(num_microbatches=2))], "group")
  burstormer = Burstormer(num_features=8, blocks_per_level=0, fusion_blocks=0, deform_groups=1)
  result |= {f"Burstormer {name}": found for name, found in gradients(burstormer, ("restoration",), eight[:1]).items()}
  with jax.enable_x64(False):
    print(json.dumps(dict(differences=result, programs=programs(), evaluation=evaluation())))
