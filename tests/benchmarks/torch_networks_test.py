"""The PyTorch side of the benchmark computes the published networks, so that the comparison is with the right thing."""

import pathlib
import sys

import jax
import numpy as np
import pytest

from debir_jax.convert import baenet_params
from debir_jax.policies import BAENet

torch = pytest.importorskip("torch")
sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "experiments" / "benchmarks"))
import torch_networks  # noqa: E402

torch.set_num_threads(1)  # Threads that wait for each other suffer most on a machine that runs other tests too.

_LAYOUTS = pytest.mark.parametrize("layout", (torch.contiguous_format, torch.channels_last))


def arrays(path, prefix=""):
  """Arrays of a file whose names begin with the prefix, without it."""
  with np.load(path) as file:
    return {name.removeprefix(prefix): file[name] for name in file if name.startswith(prefix)}


def load(module, reference):
  prefix = "state_dict/"
  module.load_state_dict({name.removeprefix(prefix): torch.from_numpy(array) for name, array in reference.items()
                          if name.startswith(prefix)}, strict=True)
  return module


@pytest.fixture(scope="module")
def burstormer_reference(shared_dir):
  return arrays(shared_dir / "golden" / "burstormer.npz", "official_color_f16_n8/")


@pytest.fixture
def burstormer(burstormer_reference):
  module = torch_networks.Burstormer(num_features=16, num_frames=8, in_channels=6, out_channels=3)
  return load(module, burstormer_reference).double()


@_LAYOUTS
def test_burstormer_and_its_gradients_are_those_of_the_published_network(burstormer, burstormer_reference, layout):
  """In float64; gradients are stored as float32."""
  burstormer.to(memory_format=layout)
  burst, target = [torch.from_numpy(burstormer_reference[name]).double() for name in ("input", "target")]
  restored = burstormer(burst)
  np.testing.assert_allclose(restored.detach(), burstormer_reference["output_f64"], rtol=0, atol=1e-10)
  (restored - target).abs().mean().backward()
  parameters = dict(burstormer.named_parameters())
  names = [name for name in burstormer_reference if name.startswith("grad_f64/")]
  assert names
  for name in names:
    expected = burstormer_reference[name]
    np.testing.assert_allclose(parameters[name.removeprefix("grad_f64/")].grad, expected, rtol=0,
                               atol=1e-6 * np.abs(expected).max(), err_msg=name)


def test_bursts_of_a_batch_are_restored_independently(burstormer, burstormer_reference):
  burst = torch.from_numpy(burstormer_reference["input"]).double()
  with torch.no_grad():
    together = burstormer(torch.cat([burst, burst.flip(-1)]))
    np.testing.assert_allclose(together[1], burstormer(burst.flip(-1))[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_planes, num_frames", [(6, 4), (5, 4)])
def test_baenet_is_our_baenet(num_planes, num_frames):
  """Random weights, statistics of random planes; the same module holds both and the converter maps them."""
  torch.manual_seed(0)
  module = torch_networks.BAENet(num_planes, num_frames + 1)
  planes = torch.rand(3, num_planes, 64, 96)
  module.train()(planes)
  variables = baenet_params({name: array.numpy() for name, array in module.state_dict().items()})
  ours = jax.jit(lambda *args: BAENet(num_frames).apply(*args, train=False))(
      variables, planes.permute(0, 2, 3, 1).numpy())
  with torch.no_grad():
    logits = module.eval()(planes)
  assert logits.std() > 1e-3
  np.testing.assert_allclose(ours, logits, rtol=0, atol=1e-4 * logits.abs().max())


@_LAYOUTS
@pytest.mark.parametrize("num_updates", (1, 12, 20))
def test_raft_is_the_published_network(shared_dir, num_updates, layout):
  """Flows of the published weights on two crops of a photo, within 1e-4 px."""
  reference = arrays(shared_dir / "golden" / "raft_small.npz")
  module = load(torch_networks.RaftSmall(), reference).to(memory_format=layout)
  images = [torch.from_numpy(reference[name]).permute(2, 0, 1)[None] / 255 for name in ("image1", "image2")]
  with torch.no_grad():
    flow = module(*images, num_updates)[0]
  np.testing.assert_allclose(flow.permute(1, 2, 0), reference[f"flow_{num_updates}_updates"], rtol=0, atol=1e-4)
