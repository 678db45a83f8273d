"""Steps of small networks on meshes of 1 and 8 devices of this machine; run as a process of its own by `mesh_test.py`.

Prints one JSON object: how far gradients, losses and predictions differ, and what the compiled programs hold.
"""

import json
import pathlib
import re
import sys

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_enable_x64", True)
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "training"))

import flax.linen as nn  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from small_steps import (  # noqa: E402
  KEY,
  SETUP,
  WeightedMean,
  small_bae,
  small_models,
  small_scenes,
  small_state,
  small_steps,
  take,
)

from debir_jax.config.optimizers import adamw_direction  # noqa: E402
from debir_jax.evaluation import Evaluator, Method  # noqa: E402
from debir_jax.pipeline import Chain  # noqa: E402
from debir_jax.policies import LIGHT_BLOCKS, BAENetPolicy, uniform  # noqa: E402
from debir_jax.restoration.alignment import Alignment  # noqa: E402
from debir_jax.restoration.layers import Conv3x3  # noqa: E402
from debir_jax.runtime import mesh as mesh_lib  # noqa: E402
from debir_jax.training.losses import Batch  # noqa: E402

_BATCH, _SIDE = 16, 8
_MEASURED_SIDE = 16  # Of scenes that metrics are taken of.


def _models(restorer, norm="batch"):
  """With BatchNorm and dropout: both must not see where the batch is cut. Wide enough for arrays that are cut."""
  return small_models(small_bae(width=1.0, dropout_rate=0.2, norm=norm, axis_name=mesh_lib.AXIS,
                                blocks=LIGHT_BLOCKS[:1]), restorer)


def _scenes(mesh, dtype, num_scenes=_BATCH):
  return jax.device_put(small_scenes(num_scenes, _SIDE, dtype), mesh_lib.by_example(mesh))


def _host(tree):
  return jax.tree.map(np.asarray, tree)


def _difference(new, old):
  """Largest relative difference; numbers that are the same, also infinite ones, do not differ."""
  new, old = np.ravel(new), np.ravel(old)
  differs = new != old
  return np.max(np.abs(new[differs] - old[differs]) / (np.abs(old[differs]) + 1e-9), initial=0.0)


def gradients(restorer, names, meshes, *, norm="batch", num_scenes=_BATCH):
  """Largest difference of a step's new state and outputs from those on one device, relative to the gradient's size.

  The rate is 1 and the "optimizer" returns the gradient, so that a step shows the gradient it took.
  """
  models, results = _models(restorer, norm), {}
  for name in names:
    first = small_state(models, side=_SIDE, dtype=jnp.float64)
    before, expected = _host(first), None
    for title, num_devices, options in [("one", 1, {}), *meshes]:
      mesh = mesh_lib.make_mesh(num_devices)
      steps = small_steps(models, mesh=mesh, **options)
      state = mesh_lib.place(first, mesh, options.get("shard_state", False))
      after = _host(take(steps, name, state, _scenes(mesh, jnp.float64, num_scenes)))
      if expected is None:
        expected = after
        moved = lambda state: [*jax.tree.leaves(state.restoration_params), *jax.tree.leaves(state.bae_params)]
        size = max(np.abs(new - old).max() for new, old in zip(moved(after[0]), moved(before)))
        assert size > 1e-6, f"{name} took no gradient"
      else:
        worst = max(np.abs(new - old).max()
                    for new, old in zip(jax.tree.leaves(after[0]), jax.tree.leaves(expected[0])))
        outputs = max(_difference(new, old)
                      for new, old in zip(jax.tree.leaves(after[1]), jax.tree.leaves(expected[1])))
        results[f"{name}, {title}"] = dict(gradient=float(worst / size), outputs=float(outputs))
  return results


def programs(num_steps=4):
  """Of stage 2 with AdamW in float32: its first losses on 1 and 8 devices, and what the compiled step holds.

  Kinds and numbers of collectives, callbacks, arguments that are given away, arrays of the state that are cut.
  """
  optimizer = adamw_direction(clip_norm=1.0, weight_decay=0.01)
  models, found = _models(WeightedMean()), {}
  for title, num_devices, shard_state in (("one", 1, False), ("copies", 8, False), ("sharded", 8, True)):
    mesh = mesh_lib.make_mesh(num_devices)
    steps = small_steps(models, optimizer, mesh=mesh, shard_state=shard_state)
    state = mesh_lib.place(small_state(models, optimizer, side=_SIDE), mesh, shard_state)
    scenes, losses = _scenes(mesh, jnp.float32), []
    batch = lambda state, steps=steps, scenes=scenes: Batch(scenes, steps.conditions(KEY, state.step, _BATCH))
    step = jax.jit(lambda *arguments, steps=steps: steps.exposure(*arguments, 1e-3), donate_argnums=0).lower(
        state, batch(state)).compile()
    cut = sum(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state))
    for _ in range(num_steps):
      state, outputs = step(state, batch(state))
      losses.append(float(outputs["loss"]))
    text = step.as_text()
    kinds = re.findall(r"= \S+ (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(", text)
    found[title] = dict(
        losses=losses, collectives={kind: kinds.count(kind) for kind in set(kinds)}, callbacks=text.count("callback"),
        aliases=text.split("\n", 1)[0].count("alias)"), num_leaves=len(jax.tree.leaves(state)), cut=cut)
  return found


class AlignedMean(nn.Module):
  """One of the four alignments of a Burstormer, with its kernels and their own gradients, and as little else as can be.
  """

  @nn.compact
  def __call__(self, frames):
    aligned, _ = Alignment(fusion_blocks=0, deform_groups=1)(Conv3x3(8)(frames))
    return Conv3x3(4)(aligned.mean(-4))


class BatchesSeen(WeightedMean):
  """Notes how many bursts it is given at a time."""

  seen = []

  @nn.compact
  def __call__(self, frames):
    self.seen.append(frames.shape[0])
    return WeightedMean(name="inner")(frames)


def evaluation():
  """Scores of 13 scenes on 1 and 8 devices, with a batch size that 8 does not divide, and how a batch was shared."""
  scenes = jax.tree.map(lambda leaf: leaf[:13], small_scenes(_BATCH, _MEASURED_SIDE, jnp.float32))
  restorer, found = BatchesSeen(), {}
  models = _models(restorer)
  state = small_state(models, side=_MEASURED_SIDE)
  policies = dict(fixed=uniform(24 / 1920), bae=BAENetPolicy(
      module=models.bae, variables=state.bae_variables, inputs=models.bae_inputs))
  chain = Chain(setup=SETUP, restorer=restorer, motion=models.motion)
  for num_devices in (1, 8):
    restorer.seen.clear()
    evaluator = Evaluator(chain, batch_size=10, devices=jax.devices()[:num_devices])
    methods = [Method(name, policy, state.restoration_variables) for name, policy in policies.items()]
    records = sorted(evaluator.evaluate(methods, scenes), key=lambda record: (record.method, record.scene_id))
    found[num_devices] = dict(seen=sorted(set(restorer.seen)), psnr=[record.psnr for record in records],
                              of=[(record.method, record.scene_id) for record in records])
  return found


if __name__ == "__main__":
  eight = [("eight", 8, {}), ("eight, sharded state", 8, dict(shard_state=True))]
  result = gradients(WeightedMean(), ("restoration",), eight)
  result |= gradients(WeightedMean(), ("warmup",), eight[:1])
  result |= gradients(WeightedMean(), ("exposure",), eight[1:])  # With copies of the state: see `programs`.
  result |= gradients(WeightedMean(), ("warmup",), [("eight, microbatches", 8, dict(num_microbatches=2))], norm="group")
  of_alignment = gradients(AlignedMean(), ("restoration",), eight[:1], num_scenes=8)
  result |= {f"alignment, {name}": found for name, found in of_alignment.items()}
  with jax.enable_x64(False):
    print(json.dumps(dict(differences=result, programs=programs(), evaluation=evaluation())))
