"""The programs that `networks.py` measures, ours and PyTorch's; run by it, in processes of their own.

  python experiments/benchmarks/network_programs.py '{"library": "ours", "group": "raft", ...}'

prints one line of JSON: a `Case` in, its numbers out. Weights and images are random; no time depends on them.
"""

from collections.abc import Callable
import functools
import json
import os
import pathlib
import platform
import resource
import sys
import time
from typing import Any, NamedTuple

from timing import best_times

from debir_jax.runtime.platform import prepare_memory

_FRAMES = 4
_UPDATES = 20  # Of the flow, as in the authors' release.
_FULL_SCALE_PX = 10  # Mean flow at which the motion plane is 1, in their release.


class Case(NamedTuple):
  """One program of one library.

  Attributes:
    library: "ours", "torch" or "torch.compile".
    group: "restorer", "bae", "raft" or "latency".
    program: of the restorer "forward" or "gradient" (of an L1 loss to the weights); else the form, "packed" (6 planes
      at the packed size; latency with our Lucas-Kanade, in PyTorch with RAFT) or "release" (5 planes at the size of
      the mosaic; RAFT).
    size: height and width of a packed frame or preview.
    batch: bursts or images.
    features: of the restorer.
    dtype: "float32" or "bfloat16" (torch: autocast); the restorer only.
    remat: of our restorer.
    xla_options: of our restorer's compilation, "name=value,name=value" or "".
    repeats: measured runs.
  """

  library: str
  group: str
  program: str
  size: int
  batch: int
  features: int
  dtype: str
  remat: str
  xla_options: str
  repeats: int


def our_program(case: Case) -> tuple[Callable, tuple]:
  """A function to be compiled and its arguments."""
  import jax
  import jax.numpy as jnp

  key = jax.random.key(0)
  uniform = lambda *shape: jax.random.uniform(key, (case.batch, *shape))
  if case.group == "restorer":
    return _our_restorer(case, uniform(_FRAMES, case.size, case.size, 4))
  if case.group == "bae":
    apply, variables = _our_bae(case.program)
    return apply, (variables, uniform(*_planes_shape(case)))
  raft, variables = _our_raft()
  images = uniform(case.size, case.size, 3), uniform(case.size, case.size, 3)[:, ::-1]
  if case.group == "raft":
    return raft, (variables, *images)
  bae, bae_variables = _our_bae(case.program)
  if case.program == "packed":
    from debir_jax.motion import LucasKanade
    raft, variables = jax.vmap(LucasKanade().apply, (None, 0, 0)), {}

  def latency(variables, image1, image2, planes):
    flow = raft(variables[0], image1, image2)
    motion = jnp.clip(jnp.mean(jnp.linalg.norm(flow, axis=-1), (1, 2)) / _FULL_SCALE_PX, 0, 1)
    motion = jnp.broadcast_to(motion[:, None, None, None], (*planes.shape[:-1], 1))
    return bae(variables[1], jnp.concatenate([planes, motion], -1))

  height, width, planes = _planes_shape(case)
  return latency, ((variables, bae_variables), *images, uniform(height, width, planes - 1))


def _planes_shape(case: Case) -> tuple[int, int, int]:
  return (case.size, case.size, 6) if case.program == "packed" else (2 * case.size, 2 * case.size, 5)


def _our_restorer(case, bursts):
  import jax
  import jax.numpy as jnp

  from debir_jax.restoration import Burstormer

  model = Burstormer(case.features, dtype=case.dtype, remat=case.remat)
  variables = jax.jit(model.init)(jax.random.key(1), bursts)  # Op by op, a GPU would tune each convolution.
  loss = lambda variables, bursts: jnp.mean(jnp.abs(model.apply(variables, bursts) - bursts[:, 0]))
  return model.apply if case.program == "forward" else jax.value_and_grad(loss), (variables, bursts)


def _our_bae(program):
  import jax

  from debir_jax.policies import BAENet, init_baenet

  module = BAENet(_FRAMES)
  variables = init_baenet(jax.random.key(2), module, num_planes=6 if program == "packed" else 5)
  return functools.partial(module.apply, train=False), variables


def _our_raft():
  import jax

  from debir_jax.motion import Raft

  raft = Raft("small", _UPDATES)
  return raft.apply, raft.init(jax.random.key(3))


def torch_program(case: Case, device: str) -> Callable[[], Any]:
  """What runs the program once."""
  import torch
  import torch_networks

  torch.manual_seed(0)
  prepare = lambda array: array.to(device, memory_format=torch.channels_last)
  compiled = torch.compile if case.library == "torch.compile" else lambda module: module
  uniform = lambda channels, height, width: prepare(torch.rand(case.batch, channels, height, width))
  if case.group == "restorer":
    return _torch_restorer(case, compiled(prepare(torch_networks.Burstormer(case.features, _FRAMES))), device)
  raft = compiled(prepare(torch_networks.RaftSmall().eval()))
  images = uniform(3, case.size, case.size), uniform(3, case.size, case.size)
  height, width, num_planes = _planes_shape(case)
  bae = compiled(prepare(torch_networks.BAENet(num_planes, _FRAMES + 1).eval()))

  def latency(planes):
    motion = raft(*images, _UPDATES).square().sum(1, keepdim=True).sqrt().mean((2, 3), keepdim=True) / _FULL_SCALE_PX
    return bae(torch.cat([planes, motion.clamp(0, 1).expand(-1, 1, height, width)], 1))

  if case.group == "raft":
    return torch.inference_mode()(lambda: raft(*images, _UPDATES))
  if case.group == "bae":
    return torch.inference_mode()(functools.partial(bae, uniform(num_planes, height, width)))
  return torch.inference_mode()(functools.partial(latency, uniform(num_planes - 1, height, width)))


def _torch_restorer(case, module, device):
  import torch

  bursts = torch.rand(case.batch, _FRAMES, 4, case.size, case.size, device=device)
  autocast = lambda: torch.autocast(device, torch.bfloat16, enabled=case.dtype == "bfloat16")

  def forward():
    with torch.inference_mode(), autocast():
      return module(bursts)

  def gradient():
    module.zero_grad(set_to_none=True)
    with autocast():
      loss = (module(bursts) - bursts[:, 0]).abs().mean()
    loss.backward()

  return forward if case.program == "forward" else gradient


def compiler_options(case: Case) -> dict[str, str]:
  """Name -> value, for our program."""
  return dict(option.split("=") for option in case.xla_options.split(",") if option)


def measure_ours(case: Case) -> dict[str, Any]:
  """Time and memory of our program; compilation (tracing included) from JAX's cache on disk where it is there."""
  import jax

  from debir_jax import motion, policies, restoration  # Imports are no part of the program.
  del motion, policies, restoration
  jax.block_until_ready(jax.numpy.ones(1))
  host_before = _peak_host_mb()
  fn, args = our_program(case)
  jax.block_until_ready(args)
  start = time.perf_counter()
  program = jax.jit(fn).lower(*args).compile(compiler_options(case))
  measured = {"compile_s": time.perf_counter() - start}
  measured |= _run(lambda: jax.block_until_ready(program(*args)), case.repeats)
  memory = program.memory_analysis()
  if memory is not None:
    arrays = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
    measured["arrays_mb"] = arrays / 1e6
  stats = jax.devices()[0].memory_stats() or {}
  measured["peak_mb"] = stats["peak_bytes_in_use"] / 1e6 if stats else _peak_host_mb() - host_before
  return measured


def measure_torch(case: Case) -> dict[str, Any]:
  """Time and memory of PyTorch's. What the first run of a compiled program needs more than others is compilation."""
  import torch
  import torch_networks  # Imports are no part of the program.

  del torch_networks
  cuda = torch.cuda.is_available()
  torch.set_num_threads(os.cpu_count())
  torch.set_float32_matmul_precision("high")  # TF32 where there is such a thing, as JAX does.
  torch.ones(1, device="cuda" if cuda else "cpu")
  host_before = _peak_host_mb()
  program = torch_program(case, "cuda" if cuda else "cpu")

  def run():
    program()
    if cuda:
      torch.cuda.synchronize()

  start = time.perf_counter()
  run()
  first_s = time.perf_counter() - start
  if cuda:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
  measured = _run(run, case.repeats)
  if case.library == "torch.compile":
    measured["compile_s"] = first_s - measured["wall_s"]
  measured["peak_mb"] = torch.cuda.max_memory_allocated() / 1e6 if cuda else _peak_host_mb() - host_before
  return measured


def _run(program, repeats):
  return dict(zip(("wall_s", "processor_s"), best_times(program, repeats)))


def _peak_host_mb() -> float:
  """Most memory that the process has ever held."""
  try:  # On Linux, getrusage knows more than that: what the parent held when it started this process.
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
  except (OSError, IndexError):
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024) / 1e6


def describe() -> dict[str, Any]:
  """The machine, as the two libraries see it."""
  import importlib.metadata
  import importlib.util

  import jax

  device = jax.devices()[0]
  versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax")}
  info = {"device": device.device_kind, "platform": device.platform, "cuda": False, "versions": versions}
  if importlib.util.find_spec("torch"):
    import torch
    versions["torch"] = torch.__version__
    info["cuda"] = torch.cuda.is_available()
  return info


def numbers(case: Case) -> dict[str, Any]:
  """What a case takes, compilation included."""
  return measure_ours(case) if case.library == "ours" else measure_torch(case)


def main():
  prepare_memory()  # As the trainer does; for PyTorch too, which gains from memory that is kept.
  request = json.loads(sys.argv[1])
  print(json.dumps(describe() if request == "describe" else numbers(Case(**request))))


if __name__ == "__main__":
  main()
