"""What a kernel does is known by the place in the code that it comes from."""

import pathlib
import sys

import jax
import jax.numpy as jnp

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "experiments" / "benchmarks"))
import gpu_profile  # noqa: E402


def test_places_are_modules_and_functions_without_what_transformations_add():
  text = "\n".join([
      '  %multiply.5 = bf16[4] fusion(%a), metadata={op_name="jit(f)/transpose(jvp(Net))/back/block1_0/jit(_attend)/'
      'cond/branch_0_fun/mul"}',
      '  ROOT %add.1 = f32[] add(%a, %b), metadata={op_name="jit(f)/jvp(Net)/conv2/add" source_line=3}'])
  assert gpu_profile.places(text) == {"multiply.5": "backward block/_attend", "add.1": "Net/conv"}


def test_a_trace_holds_the_operations_that_ran(tmp_path):
  fn = jax.jit(lambda x: jnp.sort(x * 2, 0) @ x.T)
  x = jnp.ones((256, 256))
  jax.block_until_ready(fn(x))
  with jax.profiler.trace(str(tmp_path)):
    jax.block_until_ready(fn(x))
  events = gpu_profile.kernels(next(tmp_path.rglob("*.xplane.pb")))
  assert any("sort" in operation for _, operation, _, _ in events)
  assert all(duration >= 0 for _, _, _, duration in events)
