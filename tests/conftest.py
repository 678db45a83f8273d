"""Test set-up: fast compilation, kept for other processes; float64 on request; data beside the checkout."""

import contextlib
import gc
import importlib.metadata
import os
import pathlib

_ROOT = pathlib.Path(__file__).resolve().parents[1]
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_ROOT / ".cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")  # Thousands of programs of a few ms are alike.
if os.environ["JAX_PLATFORMS"] == "cpu":  # The same programs in half the time: tests wait for the compiler.
  os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# XLA's newer emitters for CPUs compile twice as long, and small programs a tenth longer in many pieces. JAX 0.10 can do
# without both; later XLAs may end at the flags.
os.environ["XLA_FLAGS"] = ("--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
                           if importlib.metadata.version("jax").startswith("0.10.") else "")
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")  # Lowering takes a fourth less without line numbers.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's notes on CPU features of cached programs.

import jax  # noqa: E402
import pytest  # noqa: E402

# Tracing makes many objects and hardly a cycle: fewer searches for cycles take a tenth off a test's time.
gc.set_threshold(50_000, 10, 10)

# Files whose processes take minutes go first: begun last, one would keep a worker busy while the other has nothing.
_LONG = ("processes_test.py", "mesh_test.py")


def pytest_collection_modifyitems(items):
  """Long files first, in this order; the rest as they are."""
  order = {name: place for place, name in enumerate(_LONG)}
  items.sort(key=lambda item: order.get(item.path.name, len(_LONG)))


@pytest.fixture
def x64():
  """Runs the test in float64."""
  with jax.enable_x64(True):
    yield


@pytest.fixture(scope="session")
def shared_dir():
  """Reference numbers and real image material beside the checkout; the test skips where they are absent."""
  path = _ROOT.parent / "shared"
  if not path.is_dir():
    pytest.skip(f"no reference material at {path}")
  return path


@pytest.fixture
def lowering_for_gpus(monkeypatch, gpu_mesh):
  """A context in which kernels for GPUs are traced and lowered without one; nothing can be computed in it."""
  @contextlib.contextmanager
  def lowering():
    told = jax.sharding.use_abstract_mesh(gpu_mesh) if gpu_mesh else contextlib.nullcontext()
    with monkeypatch.context() as patch, told:
      patch.setattr(jax, "default_backend", lambda: "gpu")
      jax.clear_caches()  # Blocks that were traced without kernels.
      yield

  return lowering


@pytest.fixture
def gpu_mesh():
  """A GPU that is not there: newer JAX must be told which one is meant, also by every `shard_map`. None in older
  JAX."""
  if jax.__version_info__ < (0, 11):
    return None
  from debir_jax.runtime.mesh import AXIS
  device = jax.sharding.AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", num_cores=132, platform="gpu")
  return jax.sharding.AbstractMesh((1,), (AXIS,), (jax.sharding.AxisType.Auto,), abstract_device=device)
