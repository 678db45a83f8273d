"""Numbers of the slow networks, kept in `references/`, so that neither they nor ours can change unnoticed.

  python tests/convert/kept.py      # writes them anew; look at why first

`plain_burstormer.py` meets the published network to 1e-13 (a test, where its numbers lie beside the checkout). Weights
are random. Those of Burstormer are kept; of the others, which are large, their sum says whether NumPy still draws them.
"""

import pathlib

import numpy as np
from plain_burstormer import plain_burstormer, random_weights
from plain_chain import PREFIXES, plain_chain
from plain_raft import plain_raft, random_state_dict
from released import baenet_state_dict, slow_baenet

_FOLDER = pathlib.Path(__file__).with_name("references")
_WEIGHTS = "weights/"
SIDE, ISO_AT_1_240_S = 128, 150_000  # Packed px, the least that RAFT takes; the release draws 102,400 to 204,800.
WHITE_BALANCE = np.array([2.1, 1.0, 1.6])
CCM = np.array([[1.6, -0.4, -0.2], [-0.3, 1.5, -0.2], [0.1, -0.6, 1.5]])


def burstormer():
  """Eight features, four frames of 16x12 px; a pair, which fewer of the weights are for."""
  weights, rng = random_weights(num_frames=4, blocks_per_level=2, fusion_blocks=1), np.random.default_rng(1)
  burst = rng.integers(0, 256, (4, 4, 16, 12)) / 256
  return {_WEIGHTS + name: np.round(32 * array).astype(np.int8) for name, array in weights.items()} | dict(
      burst=burst.astype(np.float32), restored=plain_burstormer(weights, burst),
      restored_pair=plain_burstormer(weights_for_pairs(weights), burst[:2]))


def weights_for_pairs(weights):
  """Of a network for four frames those that a network for two has."""
  name = "rec_conv1.0.weight"
  return weights | {name: weights[name][:, :weights[name].shape[1] // 2]}


def baenet():
  """Two images of five planes, with odd sides, where paddings show."""
  weights, rng = baenet_state_dict("", width=0.25), np.random.default_rng(2)
  planes = rng.integers(0, 256, (2, 34, 26, 5)) / 256
  return dict(planes=planes.astype(np.float32), weights_sum=_sum(weights),
              logits=np.stack([slow_baenet(weights, image) for image in planes]))


def raft_small():
  """A photo-like pair after one and three updates; every eighth row and column of the flow, which is interpolated."""
  weights, rng = random_state_dict("small"), np.random.default_rng(3)
  images = rng.integers(0, 232, (2, 3, 34, 36)).repeat(4, 2).repeat(4, 3) + np.arange(144) % 24
  images[:, :, 40:90, 40:90] //= 3
  flows = [plain_raft(weights, *images, num_updates)[:, 3::8, 3::8] for num_updates in (1, 3)]
  return dict(images=images.astype(np.uint8), weights_sum=_sum(weights), flows=np.stack(flows))


def release_chain(found=None):
  """Some pixels of everything on the way from a scene to the restored image."""
  found = found or plain_chain(release_weights(), drifting_waves(), WHITE_BALANCE, CCM, ISO_AT_1_240_S)
  return {name: some_pixels(array) for name, array in found.items()} | dict(weights_sum=_sum(release_weights()))


def some_pixels(array):
  """Every sixteenth row and column of images, all of other arrays."""
  return array[..., ::16, ::16, :] if np.ndim(array) > 2 else np.asarray(array)


def release_weights():
  """A final checkpoint with small networks; RAFT's steps are so short that motion stays below full scale."""
  raft = random_state_dict("small")
  for leaf in ("weight", "bias"):
    raft[f"update_block.flow_head.conv2.{leaf}"] *= 0.02
  raft = {PREFIXES["raft"] + name: array for name, array in raft.items()}
  weights = baenet_state_dict(PREFIXES["baenet"], width=0.25)
  weights[PREFIXES["baenet"] + "classifier.1.weight"] *= 0.2  # No share near its floor.
  return random_weights(num_frames=4, blocks_per_level=0, fusion_blocks=0) | weights | raft


def drifting_waves():
  """Radiance `[179, h, w, 4]` of waves that drift by a third of a px per subframe."""
  time, y, x = np.ogrid[:179, :SIDE, :SIDE]
  waves = [np.sin(0.2 * (x - 0.3 * time) + 0.13 * y + phase) for phase in (0, 1, 2, 3)]
  return (0.3 + 0.2 * np.stack(waves, -1)).astype(np.float32)


REFERENCES = {make.__name__: make for make in (burstormer, baenet, raft_small, release_chain)}


def load(name):
  """Arrays of a reference by name; the weights that are among them as a state dict, "weights"."""
  with np.load(_FOLDER / f"{name}.npz") as file:
    arrays = dict(file)
  weights = {path.removeprefix(_WEIGHTS): (arrays.pop(path) / 32).astype(np.float32)
             for path in list(arrays) if path.startswith(_WEIGHTS)}
  return arrays | ({"weights": weights} if weights else {})


def check(name, made):
  """That numbers which are made anew are those that are kept."""
  with np.load(_FOLDER / f"{name}.npz") as file:
    assert set(file) == set(made)
    for key in sorted(file, key=lambda key: "sum" not in key):
      np.testing.assert_allclose(made[key], file[key], rtol=1e-9, atol=1e-12, err_msg=f"{name} {key}")


def _sum(weights):
  return np.array(sum(np.abs(array, dtype=np.float64).sum() for array in weights.values()))


def main():
  """Writes the references anew."""
  _FOLDER.mkdir(exist_ok=True)
  for name, make in REFERENCES.items():
    np.savez_compressed(_FOLDER / f"{name}.npz", **make())


if __name__ == "__main__":
  main()
