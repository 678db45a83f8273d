"""How long the whole training step takes to trace, lower and compile, and the memory of its arrays, at full size.

  PYTHONPATH=. python experiments/benchmarks/train_step.py --cache=/tmp/cache   # twice: without, then with
  PYTHONPATH=. python experiments/benchmarks/train_step.py --config=configs/quickstart.py

Nothing is executed. Stage 2 ("exposure") moves BAENet through restorer and simulator, stage 1 ("restoration") the
restorer. Run it from the top folder of the checkout. On any machine with jax[cuda13], with or without a GPU,

  JAX_SKIP_CUDA_CONSTRAINTS_CHECK=1 PYTHONPATH=. python experiments/benchmarks/train_step.py --for-h100 \\
      --batch-size=16 --dtype=bfloat16 --remat=blocks

compiles for an H100 and tells how much of its memory the step needs.
"""

import argparse
import contextlib
import time

import jax
from jax.experimental import topologies
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from debir_jax.config.capture import capture_setup_of
from debir_jax.config.networks import models_of
from debir_jax.config.optimizers import optimizers_of
from debir_jax.runtime.command_line import load_config
from debir_jax.runtime.mesh import AXIS, make_mesh
from debir_jax.runtime.platform import compiler_options
from debir_jax.training.losses import Batch
from debir_jax.training.state import create_state
from debir_jax.training.steps import StepOptions, Steps
from debir_jax.types import CameraColor, Scene

# What XLA must know of a GPU that is not there; NVIDIA's data sheet and the CUDA programming guide (9.0).
_H100 = """
platform_name: "CUDA" device_description_str: "NVIDIA H100 80GB HBM3"
dnn_version_info { major: 9 minor: 20 } runtime_version { major: 13 }
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_block_limit: 65536 registers_per_core_limit: 65536
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448 shared_memory_per_core: 233472
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 device_memory_size: 84929347584
}
"""


def main():
  args = _parse()
  if args.cache:
    jax.config.update("jax_compilation_cache_dir", args.cache)
  config = load_config(args.config)
  config.batch_size = args.batch_size or config.batch_size
  config.compute.dtype, config.compute.remat = args.dtype or config.compute.dtype, args.remat or config.compute.remat
  mesh = _h100_mesh() if args.for_h100 else make_mesh(1)
  for name, step, arguments in _programs(config, mesh):
    with _as_if_there(mesh) if args.for_h100 else contextlib.nullcontext():
      start = time.perf_counter()
      traced = jax.jit(step, compiler_options=compiler_options()).trace(*arguments)
      traced_s, lowered = time.perf_counter(), traced.lower(
          lowering_platforms=("cuda",) if args.for_h100 else None)
    lowered_s, compiled = time.perf_counter(), lowered.compile()
    memory = compiled.memory_analysis()
    in_and_out = memory.argument_size_in_bytes + memory.output_size_in_bytes
    print(f"{name}: trace {traced_s - start:.1f} s, lower {lowered_s - traced_s:.1f} s, compile "
          f"{time.perf_counter() - lowered_s:.1f} s; arrays {memory.temp_size_in_bytes / 1e9:.2f} GB beside "
          f"{in_and_out / 1e9:.2f} GB that go in and out", flush=True)


def _parse() -> argparse.Namespace:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--config", default="configs/default.py", help="config file")
  parser.add_argument("--batch-size", type=int, help="in place of config.batch_size")
  parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="in place of config.compute.dtype")
  parser.add_argument("--remat", choices=("none", "blocks", "stages"), help="in place of config.compute.remat")
  parser.add_argument("--cache", default="", help="folder of JAX's persistent compilation cache; none by default")
  parser.add_argument("--for-h100", action="store_true", help="compile for this GPU, which need not be there")
  return parser.parse_args()


def _h100_mesh() -> Mesh:
  """A single H100, which nothing can be computed on."""
  topology = topologies.get_topology_desc(platform="cuda", target_config=_H100, topology="1x1x1")
  return Mesh(np.array(topology.devices), (AXIS,))


@contextlib.contextmanager
def _as_if_there(mesh):
  """Programs are traced for the mesh, with the kernels for GPUs."""
  backend, jax.default_backend = jax.default_backend, lambda: "gpu"
  try:
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
      yield
  finally:
    jax.default_backend = backend


def _programs(config, mesh):
  """Name, function and shapes of the arguments, of both steps."""
  models, setup = models_of(config), capture_setup_of(config, training=True)
  optimizers = optimizers_of(config)
  steps = Steps(models, setup, optimizers, StepOptions(mesh=mesh))
  state = jax.eval_shape(lambda key: create_state(key, models, optimizers, setup.timing, config.data.crop_size),
                         jax.random.key(0))
  shape = lambda *sizes, dtype=jnp.float32: jax.ShapeDtypeStruct((config.batch_size, *sizes), dtype)
  side, num_subframes = config.data.crop_size // 2, setup.timing.num_subframes(setup.timing.budget_s)
  scenes = Scene(radiance=shape(num_subframes, side, side, 4),
                 color=CameraColor(white_balance=shape(3), ccm=shape(3, 3)), scene_id=shape(dtype=jnp.int32))
  conditions = jax.eval_shape(lambda key: steps.conditions(key, 0, config.batch_size), jax.random.key(0))
  rate = 1e-7
  return (("exposure", lambda state, batch: steps.exposure(state, batch, rate), (state, Batch(scenes, conditions))),
          ("restoration", lambda state, batch: steps.restoration(state, "restoration", batch, rate),
           (state, Batch(scenes, conditions, shape(setup.timing.num_frames)))))


if __name__ == "__main__":
  main()
