"""The whole step of stage 2 is lowered to StableHLO for accelerators that the machine of the tests has not."""

import jax
from jax import export
import jax.numpy as jnp
import pytest

from configs import default
from debir_jax.config.capture import capture_setup_of
from debir_jax.config.networks import models_of
from debir_jax.config.optimizers import optimizers_of
from debir_jax.restoration import Burstormer
from debir_jax.training.losses import Batch
from debir_jax.training.state import create_state
from debir_jax.training.steps import StepOptions, Steps
from debir_jax.types import CameraColor, Scene


@pytest.mark.parametrize("platform, dtype, remat", [
    ("cuda", "bfloat16", "none"), ("tpu", "float32", "stages"),
    *[pytest.param(*case, marks=pytest.mark.slow) for case in (("cuda", "float32", "stages"),
                                                               ("tpu", "bfloat16", "none"))]])
def test_exposure_step_is_lowered_for_accelerators(platform, dtype, remat, lowering_for_gpus, gpu_mesh):
  """With the restorer's attention and alignment, BAENet, motion, simulator and optimizer; no CPU form is left in it."""
  config = default.get_config("debug")
  restorer = Burstormer(num_features=8, blocks_per_level=(1, 0), fusion_blocks=0, deform_groups=2, dtype=dtype,
                        remat=remat)
  models = models_of(config, restorer=restorer)
  setup = capture_setup_of(config, training=True)
  optimizers = optimizers_of(config)
  steps = Steps(models, setup, optimizers, StepOptions(mesh=gpu_mesh))
  state = jax.eval_shape(lambda key: create_state(key, models, optimizers, setup.timing, config.data.crop_size),
                         jax.random.key(0))
  shape = lambda *sizes, dtype=jnp.float32: jax.ShapeDtypeStruct((config.batch_size, *sizes), dtype)
  side = config.data.crop_size // 2
  color = jax.tree.map(lambda leaf: shape(*leaf.shape), CameraColor.neutral())
  scenes = Scene(radiance=shape(setup.timing.num_subframes(setup.timing.budget_s), side, side, 4),
                 color=color, scene_id=shape(dtype=jnp.int32))
  conditions = jax.eval_shape(lambda key: steps.conditions(key, 0, config.batch_size), jax.random.key(0))
  step = jax.jit(lambda state, batch: steps.exposure(state, batch, 1e-7))
  # What is lowered here is looked at, not kept, so that programs need not stay valid for half a year.
  unstable = [export.DisabledSafetyCheck.custom_call("__gpu$xla.gpu.triton")]
  with lowering_for_gpus():
    exported = export.export(step, platforms=[platform], disabled_checks=unstable)(state, Batch(scenes, conditions))
  program = exported.mlir_module()
  assert exported.platforms == (platform,)
  assert "stablehlo.convolution" in program
  names = "depthwise_conv3x3_transpose", "deform_conv_read"
  assert [name in program for name in names] == [platform == "cuda"] * 2
  if platform == "tpu":  # A depthwise convolution is one grouped convolution there, not nine shifted products.
    assert "feature_group_count = 24 : i64" in program or "feature_group_count = 48 : i64" in program
