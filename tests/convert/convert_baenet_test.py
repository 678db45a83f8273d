"""BAENet's weights arrive whole under our names and give the same numbers, or the import says what is wrong."""

import functools

import jax
import numpy as np
import pytest
from released import baenet_blocks, baenet_state_dict, norm_of, slow_baenet

from debir_jax.convert import baenet_config, baenet_params, baenet_path
from debir_jax.policies import BAENet

WIDTH = 0.25


@functools.lru_cache
def _weights(width=WIDTH, **options):
  return baenet_state_dict(width=width, **options)


def test_names_of_torchvision():
  """First block without widening, all others with three convolutions and their norms."""
  assert baenet_path("features.0.0.weight") == "params/mobilenet_v2/stem_conv/kernel"
  assert baenet_path("features.1.conv.0.0.weight") == "params/mobilenet_v2/block_0/depthwise_conv/kernel"
  assert baenet_path("features.1.conv.2.bias") == "params/mobilenet_v2/block_0/project_norm/bias"
  assert baenet_path("baenet.mobilenet.features.2.conv.1.0.weight") == (
      "params/mobilenet_v2/block_1/depthwise_conv/kernel")
  assert baenet_path("features.17.conv.3.running_var") == "batch_stats/mobilenet_v2/block_16/project_norm/var"
  assert baenet_path("features.18.1.weight") == "params/mobilenet_v2/head_norm/scale"
  assert baenet_path("classifier.1.bias") == "params/mobilenet_v2/classifier/bias"


def test_weights_arrive_whole():
  """2,230,853 parameters for 5 planes and n = 4, and the statistics of 52 norms; nothing is lost or doubled."""
  weights = baenet_state_dict()
  variables = baenet_params(weights)
  size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
  assert size(variables["params"]) == 2_230_853
  assert len(jax.tree.leaves(variables["batch_stats"])) == 2 * 52
  assert size(variables) == sum(array.size for name, array in weights.items() if "num_batches" not in name)


@pytest.mark.parametrize("prefix", ["", "mobilenet.", "baenet.", "baenet.mobilenet.", "prednet.mobilenet."])
def test_prefixes_do_not_matter(prefix):
  """The release names the network in several ways."""
  jax.tree.map(np.testing.assert_array_equal, baenet_params(_weights(prefix=prefix)), baenet_params(_weights()))


def test_logits_are_those_of_the_pytorch_network():
  """Equal to the same layers tap by tap in float64, on odd sides too, where paddings would show."""
  module, weights = BAENet(width=WIDTH), _weights(prefix="")
  planes = np.random.default_rng(1).uniform(size=(2, 34, 26, 5)).astype(np.float32)
  variables = baenet_params(weights)
  found = jax.jit(lambda variables, planes: module.apply(variables, planes, train=False))(variables, planes)
  expected = np.stack([slow_baenet(weights, image) for image in planes])
  assert np.ptp(expected, axis=0).min() > 1e-3  # The images matter.
  np.testing.assert_allclose(found, expected, atol=2e-5)


def test_logits_are_those_of_pytorch():
  """The same network of PyTorch layers, filled by `load_state_dict` of PyTorch."""
  torch = pytest.importorskip("torch")
  weights = _weights(prefix="")
  network = _torch_mobilenet(torch)
  network.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
  planes = np.random.default_rng(2).uniform(size=(2, 64, 48, 5)).astype(np.float32)
  with torch.no_grad():
    expected = network.eval()(torch.tensor(planes.transpose(0, 3, 1, 2))).numpy()
  module = BAENet(width=WIDTH)
  found = jax.jit(lambda planes: module.apply(baenet_params(weights), planes, train=False))(planes)
  np.testing.assert_allclose(found, expected, atol=2e-4)  # Logits up to 6 after 52 layers in float32.


def _torch_mobilenet(torch):
  """MobileNetV2 of PyTorch's own layers under torchvision's names."""
  nn = torch.nn

  class Residual(nn.Module):

    def __init__(self, layers):
      super().__init__()
      self.conv = nn.Sequential(*layers)

    def forward(self, x):
      y = self.conv(x)
      return x + y if x.shape == y.shape else y

  def layers_of(block):
    for index, (_, (outputs, inputs, side, _), stride, groups) in enumerate(block, start=1):
      conv = nn.Conv2d(inputs * groups, outputs, side, stride, side // 2, groups=groups, bias=False)
      norm = nn.BatchNorm2d(outputs)
      activated = index < len(block) or len(block) == 1
      yield from [nn.Sequential(conv, norm, nn.ReLU6())] if activated else [conv, norm]

  blocks = [list(layers_of(block)) for block in baenet_blocks(width=WIDTH)]
  network = nn.Module()
  network.features = nn.Sequential(*(block[0] if len(block) == 1 else Residual(block) for block in blocks))
  network.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 5))
  network.forward = lambda x: network.classifier(network.features(x).mean((2, 3)))
  return network


@pytest.mark.parametrize("options", [{}, dict(num_planes=6), dict(num_frames=8), dict(width=0.5)])
def test_configuration_is_read_off_the_weights(options):
  """Planes from the stem, burst length from the last layer, width from the last block."""
  assert baenet_config(_weights(**options)) == dict(num_planes=5, num_frames=4, width=WIDTH) | options


def test_missing_unknown_and_misshapen_weights_are_listed_by_name():
  """Each kind of mistake, by the name that the state dict or the network has for it."""
  broken = dict(_weights())
  del broken["baenet.mobilenet.features.3.conv.1.1.running_mean"]
  broken["baenet.mobilenet.features.19.0.weight"] = np.zeros(3)
  broken["baenet.mobilenet.features.4.conv.0.0.weight"] = np.zeros((36, 8, 1, 1))
  broken["baenet.mobilenet.features.5.conv.2.weight"] = np.zeros((8, 48, 3, 3))
  with pytest.raises(ValueError) as error:
    baenet_params(broken)
  message = str(error.value)
  assert "missing: batch_stats/mobilenet_v2/block_2/depthwise_norm/mean" in message
  assert "unknown: baenet.mobilenet.features.19.0.weight" in message
  assert "features.4.conv.0.0.weight: (8, 36) instead of (8, 48)" in message
  assert "features.5.conv.2.weight: (3, 3, 48, 8) instead of (48, 8)" in message


def test_every_weight_is_needed_and_no_other_is_taken():
  """Dropping any one array is noticed; so is a stranger under any layer."""
  weights = _weights(prefix="")
  for name in [name for name in weights if "features.7." in name or "classifier" in name]:
    if "num_batches_tracked" not in name:
      with pytest.raises(ValueError, match="missing|no state dict of BAENet"):
        baenet_params({other: array for other, array in weights.items() if other != name})
  for name in ("features.1.conv.3.weight", "features.7.conv.4.weight", "classifier.2.weight", "features.2.scale"):
    with pytest.raises(ValueError, match=f"unknown: {name}"):
      baenet_params(weights | {name: np.zeros(2)})


def test_one_network_under_two_names_is_refused():
  """BAENet and prednet in one file: which one is meant?"""
  with pytest.raises(ValueError, match="baenet.features.0.0.weight and prednet.features.0.0.weight are one array"):
    baenet_params(_weights(prefix="baenet.") | _weights(prefix="prednet."))


@pytest.mark.parametrize("weights", [{}, {"features.0.0.weight": np.zeros((32, 3, 3, 3)), "fc.weight": np.zeros(2)}])
def test_something_else_is_refused(weights):
  """An empty dictionary, another network."""
  with pytest.raises(ValueError, match="no state dict of BAENet"):
    baenet_params(weights)


def test_the_network_that_sorts_photos_is_named():
  """torchvision's own weights have BAENet's names, for three colors and a thousand classes."""
  with pytest.raises(ValueError, match="MobileNetV2 for the 1000 classes of ImageNet, not a BAENet"):
    baenet_params(_weights(num_planes=3, num_frames=999))


def test_a_norm_stands_behind_its_convolution():
  """The helper of these tests: torchvision counts convolution and norm in one row."""
  assert norm_of("features.3.conv.2") == "features.3.conv.3" and norm_of("features.3.conv.0.0") == (
      "features.3.conv.0.1")
