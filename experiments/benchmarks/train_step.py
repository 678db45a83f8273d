"""How long the whole training step takes to trace, lower and compile, and the memory of its arrays, at full size.

  PYTHONPATH=. python experiments/benchmarks/train_step.py --cache=/tmp/cache   # twice: without, then with
  PYTHONPATH=. python experiments/benchmarks/train_step.py --config=configs/quickstart.py

Nothing is executed. Stage 2 ("exposure") moves BAENet through restorer and simulator, stage 1 ("restoration") the
restorer. Run it from the top folder of the checkout.
"""

import argparse
import time

import jax
import jax.numpy as jnp

from debir_jax.command_line import load_config
from debir_jax.training import build
from debir_jax.training.optimizer import CosineDecay
from debir_jax.training.state import create_state
from debir_jax.training.step import Steps
from debir_jax.types import CameraColor, Scene


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--config", default="configs/default.py", help="config file")
  parser.add_argument("--cache", default="", help="folder of JAX's persistent compilation cache; none by default")
  args = parser.parse_args()
  if args.cache:
    jax.config.update("jax_compilation_cache_dir", args.cache)
  config = load_config(args.config)
  models, setup = build.models_of(config), build.capture_setup_of(config, training=True)
  optimizers = build.optimizers_of(config)
  steps = Steps(models, setup, optimizers)
  state = jax.eval_shape(lambda key: create_state(key, models, optimizers, setup.timing, config.data.crop_size),
                         jax.random.key(0))
  shape = lambda *sizes, dtype=jnp.float32: jax.ShapeDtypeStruct((config.batch_size, *sizes), dtype)
  side, num_subframes = config.data.crop_size // 2, setup.timing.num_subframes(setup.timing.budget_s)
  scenes = Scene(radiance=shape(num_subframes, side, side, 4),
                 colour=CameraColor(white_balance=shape(3), ccm=shape(3, 3)), scene_id=shape(dtype=jnp.int32))
  shots = jax.eval_shape(lambda key: steps.shots(key, 0, config.batch_size), jax.random.key(0))
  decay = CosineDecay(1e-7, 1e-8, 10)
  for name, step, arguments in (
      ("exposure", lambda *a: steps.exposure(*a, decay), (state, scenes, shots)),
      ("restoration", lambda state, scenes, shots, times: steps.restoration(
          state, "restoration", scenes, shots, times, decay), (state, scenes, shots, shape(setup.timing.num_frames)))):
    start = time.perf_counter()
    traced = jax.jit(step, compiler_options=build.compiler_options()).trace(*arguments)
    traced_s, lowered = time.perf_counter(), traced.lower()
    lowered_s, compiled = time.perf_counter(), lowered.compile()
    print(f"{name}: trace {traced_s - start:.1f} s, lower {lowered_s - traced_s:.1f} s, compile "
          f"{time.perf_counter() - lowered_s:.1f} s, arrays "
          f"{compiled.memory_analysis().temp_size_in_bytes / 1e9:.2f} GB", flush=True)


if __name__ == "__main__":
  main()
