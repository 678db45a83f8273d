"""The front door: weights in, exposure times and images out, from any folder and with few imports."""

import dataclasses
import itertools
import pathlib
import shutil
import subprocess
import sys

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import debir_jax
from debir_jax.pipeline import capture, observe_scene, preview_before, restorer_inputs
from debir_jax.policies import LIGHT_BLOCKS, BaeInputs, BurstSizeBAENet, init_baenet
from debir_jax.restoration import AlignedUNet, Burstormer, RestorerInputs
from debir_jax.simulator import IsoNoise, simulate_previews, target_of
from debir_jax.types import BurstTiming, CameraColor
from debir_jax.weights.descriptions import describe_predictor, describe_restorer
from debir_jax.weights.shipped import shipped_files
from debir_jax.weights.weight_file import BAENET_FILE, RAFT_FILE, RESTORER_FILE, load_weights, save_weights

_HEAVY = ("grain", "orbax", "tensorflow_datasets", "cv2", "matplotlib", "skimage", "tensorflow", "clu", "scipy")
_GAIN = 700.0


@pytest.fixture(scope="module")
def model():
  return debir_jax.load()


@pytest.fixture(scope="module")
def scene():
  """Radiance of wide stripes that move by a packed pixel in 64 subframes, and their color."""
  places = jnp.arange(24)[None, :] + jnp.arange(230)[:, None] / 64
  stripes = 0.3 + 0.2 * jnp.sin(places / 3)
  radiance = jnp.broadcast_to(stripes[:, None, :, None], (230, 20, 24, 4))
  return radiance, CameraColor.neutral()


@pytest.fixture(scope="module")
def burst(scene, model):
  times = jnp.full(4, 24 / 1920)
  return capture(jax.random.key(1), scene[0], times, _GAIN, IsoNoise(), model.timing)


def _python(code, cwd):
  done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-3000:]
  return done.stdout


def test_importing_the_package_imports_nothing_else(tmp_path):
  """Neither JAX nor NumPy, so that it costs next to nothing; names of the front door are there all the same."""
  known = _python("import sys, debir_jax; print([m for m in ('jax', 'numpy', 'flax') if m in sys.modules], "
                  "set(debir_jax.__all__) <= set(dir(debir_jax)), debir_jax.list_weights(), 'jax' in sys.modules)",
                  tmp_path)
  assert known.split() == ["[]", "True", "('small',", "'small_stage1',", "'small_one_time',",
                           "'small_burst_sizes')", "False"]
  with pytest.raises(AttributeError, match="nothing"):
    debir_jax.nothing  # pylint: disable=pointless-statement


def test_importing_the_package_takes_no_time(tmp_path):
  """The fastest of several imports, as others may keep the machine busy: 2 ms; importing JAX takes half a second."""
  code = "import time; start = time.perf_counter(); import debir_jax; print(time.perf_counter() - start)"
  assert min(float(_python(code, tmp_path)) for _ in range(5)) < 0.1


def test_the_front_door_needs_none_of_the_training_libraries_and_no_checkout(tmp_path):
  """From another folder: load, ask for exposure times, restore."""
  code = ("import sys, json, numpy as np, debir_jax; m = debir_jax.load(); "
          "p = np.full((2, 16, 16, 4), .2, 'f'); t = m.exposure_times(p, preview_gain=700.0); "
          "image = m.restore(np.full((4, 16, 16, 4), .2, 'f'), t); "
          f"print(json.dumps([m for m in {_HEAVY!r} if m in sys.modules]), image.shape, t.shape)")
  assert _python(code, tmp_path).strip() == "[] (16, 16, 4) (4,)"


def test_exposure_times_are_those_of_the_chain(model, scene):
  """The front door asks BAENet what training and evaluation ask it, in seconds, within the limits of the timing."""
  radiance, color = scene
  observation = jax.jit(lambda radiance: observe_scene(
      jax.random.key(0), radiance, color, _GAIN, IsoNoise(), model.timing, model.motion))(radiance)
  times = model.exposure_times(observation.previews, _GAIN, color)
  expected = jax.jit(lambda policy: policy(jax.random.key(0), observation, model.timing))(model.policy)
  np.testing.assert_allclose(times, expected, rtol=1e-5)
  np.testing.assert_array_equal(model.exposure_times(observation.previews, _GAIN), times)  # This color is neutral.
  assert np.all(times >= model.timing.min_exposure_s * 0.999) and times.sum() <= model.timing.budget_s * 1.001


def test_an_image_is_restored_better_than_its_first_frame(model, scene, burst):
  """Of a noisy burst, closer to the radiance at its start than frame 0 is."""
  target = target_of(scene[0], model.timing)
  error = lambda image: float(jnp.mean(jnp.abs(image - target)))
  assert error(model.restore(burst.raw, burst.exposure_times)) < 0.6 * error(burst.raw[0])


def test_an_image_as_a_whole_is_what_the_restorer_gives(model, burst):
  """No more than `Restorer.apply` of its inputs, where the sides fit the network."""
  inputs = jax.jit(restorer_inputs, static_argnums=1)(burst, model.restorer_inputs)
  expected = model.restorer.apply(model.restorer_variables, inputs)
  image = model.restore(burst.raw, burst.exposure_times, gains=burst.gains)
  np.testing.assert_allclose(image, expected, atol=1e-5)


def test_previews_help_to_restore(model, scene, burst):
  """They change the motion that is found, and no more; others than the frames' are refused."""
  previews = simulate_previews(jax.random.key(0), scene[0], _GAIN, IsoNoise(), model.timing)
  known = dataclasses.replace(burst, preview=preview_before(previews, _GAIN, model.timing))
  inputs = jax.jit(restorer_inputs, static_argnums=1)(known, model.restorer_inputs)
  expected = model.restorer.apply(model.restorer_variables, inputs)
  image = model.restore(burst.raw, burst.exposure_times, gains=burst.gains, previews=previews)
  np.testing.assert_allclose(image, expected, atol=1e-5)
  with pytest.raises(ValueError, match="as large as the frames.*leave them out"):
    model.restore(burst.raw, burst.exposure_times, previews=previews[:, :8])


@pytest.mark.parametrize("height, width", [(1, 1), (5, 18), (19, 23)])
def test_any_sides_are_restored(model, burst, height, width):
  """Sides that are no multiples of 4 are mirrored and cut again; far from the borders nothing changes."""
  raw = burst.raw[:, :height, :width]
  assert model.restore(raw, burst.exposure_times).shape == (height, width, 4)


def test_large_images_are_restored_in_tiles(tmp_path):
  """By default beyond 256 px, on request anywhere; further from the borders of a tile than the network reaches, the
  image is that of the whole."""
  module = Burstormer(num_features=8, blocks_per_level=0, fusion_blocks=0, deform_groups=1)
  variables = module.init(jax.random.key(0), jnp.zeros((4, 8, 8, 4)))
  description = load_weights(shipped_files("small")[0])[1]
  save_weights(tmp_path / RESTORER_FILE, variables,
               description | dict(architecture=describe_restorer(module, RestorerInputs())))
  model = debir_jax.load(tmp_path)
  raw = jax.random.uniform(jax.random.key(2), (4, 260, 64, 4))
  times = np.full(4, 0.01)
  tiled = model.restore(raw, times)
  assert tiled.shape == (260, 64, 4)
  np.testing.assert_array_equal(tiled, model.restore(raw, times, tile_size=128))
  whole = model.restore(raw, times, tile_size=0)
  np.testing.assert_allclose(tiled[:64, :16], whole[:64, :16], atol=1e-4)


@pytest.mark.parametrize("name", debir_jax.list_weights())
def test_shipped_weights_are_finite_and_for_the_paper(name):
  """Every name loads; both restorers share their BAENet, so that exposure times are compared under equal ones."""
  model = debir_jax.load(name)
  assert model.timing == BurstTiming.paper(num_frames=8 if name == "small_burst_sizes" else 4)
  assert isinstance(model.noise_model, IsoNoise)
  assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((model.restorer_variables, model.policy)))
  assert set(model.description) == {"restorer", "baenet"}


def test_the_shipped_restorers_differ():
  files = [load_weights(shipped_files(name)[0])[0] for name in debir_jax.list_weights()]
  for one, other in itertools.combinations(files, 2):
    assert any(a.shape != b.shape or np.any(a != b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other)))


def test_the_networks_for_burst_sizes_take_as_many_frames_as_asked(burst):
  """Others are left out; a burst of four frames is restored nearly as by the restorer for four."""
  model = debir_jax.load("small_burst_sizes")
  previews = np.random.default_rng(0).uniform(0, 0.5, (2, 64, 64, 4)).astype(np.float32)
  for size in (2, 4, 6, 8):
    times = np.asarray(model.exposure_times(previews, 700.0, num_frames=size))
    assert np.count_nonzero(times) == size and times.sum() <= size * 32 / 1920 * (1 + 1e-5)
  restored, of_four = (each.restore(burst.raw, burst.exposure_times) for each in (model, debir_jax.load()))
  assert restored.shape == burst.raw.shape[1:]
  assert float(jnp.abs(restored - of_four).mean()) < 0.03  # The scene is tiny: all of it is near a border.


def test_the_network_of_one_time_predicts_one_time(model):
  """For all frames, and others than those of the network of several."""
  previews = np.random.default_rng(0).uniform(0, 0.5, (2, 64, 64, 4)).astype(np.float32)
  times = debir_jax.load("small_one_time").exposure_times(previews, 700.0)
  assert times.shape == (4,) and np.ptp(times) < 1e-6 < np.ptp(model.exposure_times(previews, 700.0))


def test_a_folder_or_a_file_is_loaded_like_a_name(tmp_path, model, burst):
  """A folder with both networks, one with one of them, and single files; what is missing is said when it is wanted."""
  for source, name in zip(shipped_files("small"), (RESTORER_FILE, BAENET_FILE)):
    shutil.copy(source, tmp_path / name)
  expected = model.restore(burst.raw, burst.exposure_times)
  for place in (tmp_path, str(tmp_path), tmp_path / RESTORER_FILE):
    np.testing.assert_array_equal(debir_jax.load(place).restore(burst.raw, burst.exposure_times), expected)
  restorer, predictor = debir_jax.load(tmp_path / RESTORER_FILE), debir_jax.load(tmp_path / BAENET_FILE)
  with pytest.raises(ValueError, match="restorer alone, no BAENet.*baenet.safetensors"):
    restorer.exposure_times(np.zeros((2, 8, 8, 4)), 700.0)
  with pytest.raises(ValueError, match="BAENet alone, no restorer.*restorer.safetensors"):
    predictor.restore(burst.raw, burst.exposure_times)


def test_what_is_not_there_is_named_with_what_is(tmp_path):
  with pytest.raises(FileNotFoundError, match="'huge'.*small, small_stage1, small_one_time, small_burst_sizes"):
    debir_jax.load("huge")
  with pytest.raises(FileNotFoundError, match="neither restorer.safetensors nor baenet.safetensors.*convert --help"):
    debir_jax.load(tmp_path)
  (tmp_path / "config.json").write_text("{}")
  with pytest.raises(FileNotFoundError, match="workdir of a run; `python -m debir_jax.convert --from`"):
    debir_jax.load(tmp_path)


def test_weights_are_found_at_home_and_not_in_a_cloud(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  shutil.copy(shipped_files("small")[0], tmp_path / RESTORER_FILE)
  assert debir_jax.load("~").restorer is not None and debir_jax.load(f"~/{RESTORER_FILE}").policy is None
  for address in ("s3://bucket/weights", "gs://bucket/restorer.safetensors"):
    with pytest.raises(ValueError, match=f"weights={address} is an address"):
      debir_jax.load(address)


def _copied(tmp_path, change_restorer=None, change_baenet=None):
  """The shipped weights with changed descriptions or variables."""
  for source, name, change in zip(shipped_files("small"), (RESTORER_FILE, BAENET_FILE),
                                  (change_restorer, change_baenet)):
    variables, description = load_weights(source)
    if change is not None:
      change(variables, description)
    save_weights(tmp_path / name, variables, description)
  return tmp_path


def test_networks_that_do_not_belong_together_are_refused(tmp_path):
  """A restorer of another noise than BAENet's, with the field that differs."""
  def change(_, description):
    description["trained_for"]["noise"] = "paper"

  with pytest.raises(ValueError, match="do not belong together, they differ in noise"):
    debir_jax.load(_copied(tmp_path, change))


def test_weights_that_are_not_what_they_describe_are_refused(tmp_path):
  def widen(_, description):
    description["architecture"]["num_features"] += 8

  def from_the_future(_, description):
    description["architecture"]["sharpness"] = 3

  def unknown(_, description):
    description["architecture"]["name"] = "TransformerXL"

  with pytest.raises(ValueError, match="does not hold the network that it describes"):
    debir_jax.load(_copied(tmp_path, widen))
  with pytest.raises(ValueError, match="sharpness, which this version .* Update the package"):
    debir_jax.load(_copied(tmp_path, from_the_future))
  with pytest.raises(ValueError, match="'TransformerXL' .* restorer=\\.\\.\\."):
    debir_jax.load(_copied(tmp_path, unknown))


def test_a_field_that_came_later_has_its_default(tmp_path, burst):
  """Files of before stay usable, and give the same image."""
  def forget(_, description):
    del description["architecture"]["blocks_per_level"], description["architecture"]["inputs"]["validity"]

  model = debir_jax.load(_copied(tmp_path, forget))
  np.testing.assert_array_equal(model.restore(burst.raw, burst.exposure_times),
                                debir_jax.load().restore(burst.raw, burst.exposure_times))


def test_files_of_another_format_are_refused(tmp_path):
  """With the version in which they can be made again."""
  variables, description = load_weights(shipped_files("small")[0])
  for number, remedy in ((1, "debir_jax.convert"), (99, "Update the package")):
    save_weights(tmp_path / RESTORER_FILE, variables, description | dict(format=number))
    with pytest.raises(ValueError, match=f"format {number} .* reads format 2. .*{remedy}"):
      debir_jax.load(tmp_path)


def test_a_meter_without_its_weights_is_refused(tmp_path):
  def measured_by_raft(_, description):
    description["trained_for"]["motion"]["estimator"] = "raft_small"

  with pytest.raises(ValueError, match=f"raft_small measures.*put {RAFT_FILE} beside it"):
    debir_jax.load(_copied(tmp_path, change_baenet=measured_by_raft))


def test_another_network_is_no_restorer(tmp_path):
  """RAFT's or LPIPS's file is named as what it is."""
  save_weights(tmp_path / "raft.safetensors", {"params": {"a": np.zeros(1)}}, dict(architecture=dict(name="raft")))
  with pytest.raises(ValueError, match="holds raft, neither a restorer nor a BAENet"):
    debir_jax.load(tmp_path / "raft.safetensors")


@pytest.mark.parametrize("raw, times, message", [
    (np.zeros((3, 8, 8, 4)), np.full(4, 0.01), r"exposure_times, s, must be \[3\]"),
    (np.zeros((5, 8, 8, 4)), np.full(5, 0.01), "bursts of at most 4 frames, got 5"),
    (np.zeros((8, 8, 4)), np.full(4, 0.01), r"raw must be packed RAW \[4, h, w, 4\].*\(8, 8, 4\)"),
    (np.zeros((4, 8, 8, 3)), np.full(4, 0.01), "debir_jax.imaging.pack"),
    (np.full((4, 8, 8, 4), 512.0), np.full(4, 0.01), "relative to white = 1.*512"),
    (np.full((4, 8, 8, 4), np.nan), np.full(4, 0.01), "relative to white = 1.*nan"),
    (np.zeros((4, 8, 8, 4)), np.full(3, 0.01), r"exposure_times, s, must be \[4\]"),
    (np.zeros((4, 8, 8, 4)), np.array([0, 0.01, 0.01, 0.01]), "exposure_times"),
    (np.zeros((4, 8, 8, 4)), np.array([0.01, -0.01, 0.01, 0.01]), "exposure_times")])
def test_bursts_that_make_no_sense_are_refused(model, raw, times, message):
  with pytest.raises(ValueError, match=message):
    model.restore(raw, times)


def test_tiles_and_previews_that_make_no_sense_are_refused(model, burst):
  with pytest.raises(ValueError, match="tile_size=30 must be a multiple of 4"):
    model.restore(burst.raw, burst.exposure_times, tile_size=30)
  with pytest.raises(ValueError, match=r"previews must be packed RAW \[2, h, w, 4\]"):
    model.exposure_times(np.zeros((16, 16, 4)), 700.0)
  with pytest.raises(ValueError, match=r"previews must lie in \[0, 1\]"):
    model.exposure_times(np.full((2, 16, 16, 4), 3.0), 700.0)
  with pytest.warns(UserWarning, match="outside the range"):
    model.exposure_times(np.full((2, 16, 16, 4), 0.3), 100.0)


def test_a_restorer_that_sees_the_noise_wants_the_gains(tmp_path):
  """Its file says so, and the gains change the image."""
  inputs, module = RestorerInputs(noise_map=True), Burstormer(num_features=8, blocks_per_level=0, fusion_blocks=0,
                                                              deform_groups=1)
  variables = module.init(jax.random.key(0), jnp.zeros((4, 8, 8, inputs.num_channels)))
  description = load_weights(shipped_files("small")[0])[1]
  save_weights(tmp_path / RESTORER_FILE, variables, description | dict(architecture=describe_restorer(module, inputs)))
  model = debir_jax.load(tmp_path)
  assert model.restorer == module and model.restorer_inputs == inputs
  raw, times = np.full((4, 8, 8, 4), 0.2), np.full(4, 0.01)
  with pytest.raises(ValueError, match=r"pass gains=\[n\]"):
    model.restore(raw, times)
  images = [model.restore(raw, times, gains=np.full(4, gain)) for gain in (100.0, 1000.0)]
  assert float(jnp.max(jnp.abs(images[0] - images[1]))) > 1e-6  # Fresh weights: a small image, but no rounding.


def test_a_restorer_of_aligned_frames_wants_nothing_new(tmp_path):
  """It finds motion and noise in the frames; fresh weights return their mean, whatever the sides."""
  inputs, module = RestorerInputs(aligned=True), AlignedUNet(num_features=8, blocks_per_level=1)
  variables = module.init(jax.random.key(0), jnp.zeros((4, 8, 8, inputs.num_channels)))
  description = load_weights(shipped_files("small")[0])[1]
  save_weights(tmp_path / RESTORER_FILE, variables, description | dict(architecture=describe_restorer(module, inputs)))
  model = debir_jax.load(tmp_path)
  assert model.restorer == module and model.restorer_inputs == inputs
  times, still = np.array([8, 16, 24, 32]) / 1920, 0.2 + 0.1 * np.random.default_rng(0).random((1, 22, 26, 4))
  gains = 700 * times[0] / times
  noise = np.sqrt(IsoNoise().variance(0.25, gains))[:, None, None, None]
  raw = still + noise * np.random.default_rng(1).normal(size=(4, 22, 26, 4))
  image = model.restore(raw, times)
  assert image.shape == (22, 26, 4)
  error = lambda image: float(np.sqrt(np.mean(np.square(image - still[0])[4:-4, 4:-4])))
  assert error(image) < 0.6 * error(raw[0])
  assert float(jnp.abs(model.restore(raw, times, gains=gains) - image).mean()) < 0.02


def test_one_pair_of_networks_for_bursts_of_several_sizes(tmp_path):
  """Asked for a size BAENet has times for that many frames, else for as many as it chooses; and the restorer takes
  them, as it takes a burst with frames left out."""
  sizes, timing = (2, 4, 6, 8), BurstTiming.paper(8)
  module = AlignedUNet(num_features=8, blocks_per_level=1)
  inputs, predictor = RestorerInputs(aligned=True), BurstSizeBAENet(blocks=LIGHT_BLOCKS, width=0.25)
  files = [load_weights(path)[1] for path in shipped_files("small")]
  for description in files:
    description["trained_for"] |= dict(timing=dataclasses.asdict(timing), burst_sizes=list(sizes))
  variables = module.init(jax.random.key(0), jnp.zeros((8, 8, 8, inputs.num_channels)))
  save_weights(tmp_path / RESTORER_FILE, variables, files[0] | dict(architecture=describe_restorer(module, inputs)))
  save_weights(tmp_path / BAENET_FILE, init_baenet(jax.random.key(1), predictor), files[1] | dict(
      architecture=describe_predictor(predictor, BaeInputs(min_preview_gain=512.0))))
  model = debir_jax.load(tmp_path)
  previews = np.full((2, 16, 16, 4), 0.2)
  assert len(model.exposure_times(previews, 700.0)) in sizes
  raw = 0.2 + 0.02 * np.random.default_rng(0).normal(size=(8, 16, 16, 4))
  for size in (2, 6):
    times = np.asarray(model.exposure_times(previews, 700.0, num_frames=size))
    assert len(times) == size and np.all(times > 0) and times.sum() <= timing.with_frames(size).budget_s * 1.001
    left_out = [np.where(np.arange(8) < size, values.T, 0).T for values in (raw, np.pad(times, (0, 8 - size)))]
    np.testing.assert_allclose(model.restore(raw[:size], times), model.restore(*left_out), atol=1e-6)
  with pytest.raises(ValueError, match="bursts of 2, 4, 6, 8 frames, not of 3"):
    model.exposure_times(previews, 700.0, num_frames=3)
  with pytest.raises(ValueError, match="bursts of at most 8 frames, got 9"):
    model.restore(np.zeros((9, 16, 16, 4)), np.full(9, 0.01))


class _Mean(nn.Module):
  """A restorer of one's own: a weighted mean of the frames."""

  @nn.compact
  def __call__(self, frames):
    weights = self.param("weights", nn.initializers.constant(0.25), (frames.shape[-4],))
    return jnp.einsum("...nhwc,n->...hwc", frames, weights)


def test_a_restorer_of_ones_own_is_loaded_with_its_module(tmp_path, burst):
  description = load_weights(shipped_files("small")[0])[1]
  save_weights(tmp_path / RESTORER_FILE, {"params": {"weights": np.array([1.0, 0, 0, 0], np.float32)}},
               description | dict(architecture=describe_restorer(_Mean(), RestorerInputs())))
  with pytest.raises(ValueError, match="'_Mean'.*restorer=..."):
    debir_jax.load(tmp_path)
  model = debir_jax.load(tmp_path, restorer=_Mean())
  np.testing.assert_allclose(model.restore(burst.raw, burst.exposure_times), burst.raw[0], atol=1e-6)

  @dataclasses.dataclass
  class Unhashable:
    layers: list

  with pytest.raises(ValueError, match="Unhashable.* cannot be hashed.*tuples, not lists"):
    debir_jax.load(tmp_path, restorer=Unhashable([1]))


def test_the_weights_are_package_data():
  """What `list_weights` names is packed into the wheel."""
  setup = (pathlib.Path(__file__).parents[1] / "setup.cfg").read_text()
  assert "debir_jax = weights/*/*.safetensors" in setup
  for name in debir_jax.list_weights():
    for path in shipped_files(name):
      assert path.parent.parent.name == "weights" and path.is_file()
