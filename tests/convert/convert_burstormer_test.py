"""Imported weights are the published ones, whole, under our names, or the import says what is wrong."""

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from released import published_name

from debir_jax.convert import burstormer_config, burstormer_params, burstormer_path
from debir_jax.convert.burstormer import check_restores_raw
from debir_jax.restoration import Burstormer, light_burstormer


@pytest.fixture(scope="module")
def state_dict():
  """Random weights of a light network with six frames in the published layout."""
  shapes = jax.eval_shape(light_burstormer().init, jax.random.key(0), jnp.zeros((6, 4, 4, 4)))["params"]
  rng = np.random.default_rng(0)
  weights = {published_name(path): rng.normal(size=leaf.shape).astype(np.float32)
             for path, leaf in traverse_util.flatten_dict(shapes, sep="/").items()}
  return {name: weight.transpose(3, 2, 0, 1) if weight.ndim == 4 else weight for name, weight in weights.items()}


def test_names_of_the_published_network():
  assert burstormer_path("align.alignment0.back_projection.encoder1.1.ffn.project_in.weight") == (
      "align/alignment0/back_projection/encoder1_1/ffn/project_in/kernel")
  assert burstormer_path("align.encoder_level2.0.norm1.body.weight") == "align/encoder_level2_0/norm1/scale"
  assert burstormer_path("align.cascade_alignment.deform.weight") == "align/cascade_alignment/deform_kernel"
  assert burstormer_path("rec_conv1.0.weight") == "rec_conv1/kernel"


def test_weights_arrive_whole_and_turned(state_dict):
  params = burstormer_params(state_dict)["params"]
  assert sum(leaf.size for leaf in jax.tree.leaves(params)) == sum(weight.size for weight in state_dict.values())
  np.testing.assert_array_equal(params["conv1"]["kernel"][2, 0, 3, 5], state_dict["conv1.0.weight"][5, 3, 2, 0])
  np.testing.assert_array_equal(params["align"]["up1"]["kernel"][1, 2, 3, 4],  # Transposed: [in, out, 3, 3].
                                state_dict["align.up1.weight"][4, 3, 1, 2])


def test_configuration_is_read_off_the_weights(state_dict):
  config = burstormer_config(state_dict)
  assert Burstormer(**config) == light_burstormer(blocks_per_level=(1, 1))
  groups = {name: array[:4 * 27] if "offset_conv" in name else array for name, array in state_dict.items()}
  assert burstormer_config(groups)["deform_groups"] == 4


def test_reference_state_dict_is_imported_whole(shared_dir):
  prefix = "official_color_f16_n8/state_dict/"
  with np.load(shared_dir / "golden" / "burstormer.npz") as file:
    state_dict = {name.removeprefix(prefix): file[name] for name in file if name.startswith(prefix)}
  assert len(state_dict) == len(jax.tree.leaves(burstormer_params(state_dict))) == 279


def test_missing_unknown_and_misshapen_weights_are_listed_by_name(state_dict):
  broken = dict(state_dict)
  del broken["align.down1.bias"]
  broken["align.down3.bias"] = state_dict["align.down1.bias"]
  broken["back_projection2.feat_fusion.0.weight"] = np.zeros((8, 8, 3, 3))
  with pytest.raises(ValueError) as error:
    burstormer_params(broken)
  message = str(error.value)
  assert "missing: align/down1/bias" in message
  assert "unknown: align.down3.bias" in message
  assert "back_projection2.feat_fusion.0.weight: (3, 3, 8, 8) instead of (3, 3, 16, 8)" in message


@pytest.mark.parametrize("state_dict", [{}, {"conv1.0.weight": np.zeros((8, 4, 3, 3)), "other": np.zeros(3)}])
def test_something_else_is_refused(state_dict):
  with pytest.raises(ValueError, match="no state dict of the de-noising Burstormer"):
    burstormer_params(state_dict)


def _other_task(state_dict, task):
  """The published network for another task, as far as its names and its first and last layers tell."""
  if task == "super-resolution":
    heads = {name: np.zeros((8, 8, 1, 1)) for name in ("up1.0.weight", "up2.0.weight", "up3.0.weight")}
    return {name: array for name, array in state_dict.items() if not name.startswith("rec_conv")} | heads
  channels = dict(color=3, grey=1)[task]  # And as many for the noise.
  return state_dict | {"conv1.0.weight": np.zeros((8, 2 * channels, 3, 3)),
                       "out_conv.0.weight": np.zeros((channels, 8, 3, 3))}


@pytest.mark.parametrize("task, message", [
    ("color", r"de-noises color images \(6 channels in, 3 out\), which no config makes fit"),
    ("grey", r"de-noises grey images \(2 channels in, 1 out\), which no config makes fit"),
    ("super-resolution", "for super-resolution or enhancement, whose last layers make the image larger .*up1.0")])
@pytest.mark.parametrize("front", ["", "module."])
def test_networks_for_other_tasks_are_named_in_a_sentence(state_dict, task, message, front):
  """A network for packed RAW is none of them, nor is what is no Burstormer at all."""
  weights = {front + name: array for name, array in _other_task(state_dict, task).items()}
  with pytest.raises(ValueError, match=message) as error:
    check_restores_raw(weights)
  assert str(error.value).count(". ") == 0 and len(str(error.value).splitlines()) == 1
  check_restores_raw(state_dict)
  check_restores_raw({"other": np.zeros(3)})


def test_super_resolution_is_named_by_the_importer_too(state_dict):
  """Instead of a list of what is missing."""
  with pytest.raises(ValueError, match="for super-resolution or enhancement"):
    burstormer_params(_other_task(state_dict, "super-resolution"))
