"""Laws of frames between frames: how many, in which order, in which range, whichever interpolator makes them."""

import jax
import numpy as np
import pytest
import skimage.data

from debir_jax.imaging.tiling import tiles_along
from debir_jax.scenes import frame_order, interpolate
from debir_jax.scenes.ifnet import Rife, init_ifnet
from debir_jax.scenes.interpolate import (
  INTERPOLATORS,
  CrossFade,
  frame_name,
  interpolate_clip,
  interpolate_pair,
  interpolator_named,
)
from debir_jax.weights.weight_file import save_weights

_SIZE = (40, 56)


@pytest.fixture(scope="module")
def interpolators():
  """One of each, RIFE with random weights."""
  return dict(cross_fade=interpolator_named("cross_fade"), flow=interpolator_named("flow"),
              rife=Rife(jax.jit(init_ifnet)(jax.random.key(0))))


def _frames(count=2, size=_SIZE):
  """Crops of a photo, each 2 px right of the one before."""
  photo = skimage.data.astronaut()[..., :3].astype(np.float32) / 255
  return [photo[60:60 + size[0], 150 + 2 * index:150 + 2 * index + size[1]] for index in range(count)]


@pytest.mark.parametrize("name", INTERPOLATORS)
@pytest.mark.parametrize("factor", (1, 5))
def test_there_are_factor_minus_one_frames_in_range(interpolators, name, factor):
  """float32 in [0, 1], also where sides are no multiples of anything."""
  frames = interpolate_pair(interpolators[name], *_frames(), factor)
  assert frames.shape == (factor - 1, *_SIZE, 3) and frames.dtype == np.float32
  assert factor == 1 or (frames.min() >= 0 and frames.max() <= 1)


@pytest.mark.parametrize("name", ("cross_fade", "flow"))
def test_frames_are_in_temporal_order(interpolators, name):
  """From frame to frame it is farther from the first and nearer to the second."""
  first, second = _frames()
  frames = [first, *interpolate_pair(interpolators[name], first, second, 5), second]
  from_first, to_second = ([np.abs(frame - end).mean() for frame in frames] for end in (first, second))
  assert (np.diff(from_first) > 0).all() and (np.diff(to_second) < 0).all()


@pytest.mark.parametrize("name", ("cross_fade", "flow"))
def test_the_other_way_round_frames_come_the_other_way_round(interpolators, name):
  """Time has no direction."""
  first, second = _frames()
  there, back = (interpolate_pair(interpolators[name], *pair, 5) for pair in ((first, second), (second, first)))
  np.testing.assert_allclose(there, back[::-1], atol=2e-5)


@pytest.mark.parametrize("name", ("cross_fade", "flow"))
def test_a_static_pair_returns_itself(interpolators, name):
  """To rounding: nothing is read between pixels."""
  still, _ = _frames()
  frames = interpolate_pair(interpolators[name], still, still, 5)
  np.testing.assert_allclose(frames, np.broadcast_to(still, frames.shape), atol=1e-6)


def test_a_cross_fade_is_a_mean(interpolators):
  first, second = _frames()
  frames = interpolate_pair(interpolators["cross_fade"], first, second, 4)
  np.testing.assert_allclose(frames[0], 0.75 * first + 0.25 * second, atol=1e-6)


def test_a_clip_keeps_its_frames_and_gets_others_between(interpolators):
  """n frames become (n - 1) * factor + 1; those of the clip are the very same arrays, in their places."""
  clip = _frames(4)
  found = list(interpolate_clip(interpolators["cross_fade"], iter(clip), 3, num_frames=99))
  assert len(found) == 10
  assert all(found[3 * index] is frame for index, frame in enumerate(clip))
  np.testing.assert_array_equal(found[4:6], interpolate_pair(interpolators["cross_fade"], *clip[1:3], 3))


def test_a_clip_is_read_as_it_is_used(interpolators):
  """Two source frames are held, no more are read."""
  read = []
  frames = interpolate_clip(interpolators["cross_fade"], (read.append(1) or frame for frame in _frames(5)), 4)
  for _ in range(4):
    next(frames)
  assert len(read) == 2


@pytest.mark.parametrize("count", (0, 1))
def test_clips_without_a_pair(interpolators, count):
  """There is nothing between, so nothing is made up; a single frame is no clip."""
  assert list(interpolate_clip(interpolators["cross_fade"], _frames(count), 4)) == []


@pytest.mark.parametrize("name", ("cross_fade", pytest.param("flow", marks=pytest.mark.slow)))
def test_large_frames_in_tiles_are_nearly_those_of_whole_ones(interpolators, monkeypatch, name):
  """Far from their edges tiles see what the whole frame sees; what is local is the same."""
  monkeypatch.setattr(interpolate, "LARGEST_SIDE", 96)
  monkeypatch.setattr(interpolate, "_OVERLAP", 48)
  pair = _frames(size=(64, 176))
  tiles = interpolate_pair(interpolators[name], *pair, 2)
  monkeypatch.undo()
  whole = interpolate_pair(interpolators[name], *pair, 2)
  np.testing.assert_allclose(tiles, whole, atol=1e-6 if name == "cross_fade" else 0.1)
  assert np.abs(tiles - whole).mean() < 2e-3


@pytest.mark.parametrize("side, count", ((4, 1), (1536, 1), (1537, 2), (2160, 2), (3840, 3), (7680, 7)))
def test_tiles_are_as_few_as_can_be_and_of_one_length(side, count):
  """None is larger than the largest; their weights sum to 1."""
  starts, weights = interpolate.balanced_tiles(side)
  assert len(starts) == count and weights.shape[1] <= interpolate.LARGEST_SIDE
  total = np.zeros(side)
  for start, row in zip(starts, weights):
    total[start:start + len(row)] += row
  np.testing.assert_allclose(total, 1, atol=1e-6)
  assert count == 1 or weights.shape == tiles_along(side, weights.shape[1], 384)[1].shape


def test_names_are_those_of_ema_vfi_and_keep_the_order():
  """floor(1000 i / factor) behind the number of the source frame; sorted as the frames are, for every factor."""
  assert [frame_name(12, step, 8) for step in (0, 1, 3, 7)] == [
      "000012_000.png", "000012_125.png", "000012_375.png", "000012_875.png"]
  for factor in (2, 8, 16, 32):
    names = [frame_name(index, step, factor) for index in range(3) for step in range(factor)]
    assert names == sorted(set(names))


@pytest.mark.parametrize("factor", (8, 16, 32))
def test_readers_of_clips_take_the_names_as_even_in_time(tmp_path, factor):
  """Rounded down or not."""
  names = [tmp_path / frame_name(index, step, factor) for index in range(3) for step in range(factor)]
  assert frame_order.in_order(names[::-1]) == names


@pytest.mark.parametrize("step, factor", ((8, 8), (-1, 8), (0, 1001)))
def test_steps_that_cannot_be_are_refused(step, factor):
  with pytest.raises(ValueError, match=f"Step {step} of {factor}"):
    frame_name(0, step, factor)


@pytest.mark.parametrize("change, message", (
    (lambda frame: (255 * frame).astype(np.uint8), "divide 8-bit frames by 255"),
    (lambda frame: 255 * frame, "floating-point sRGB in"),
    (lambda frame: frame * np.nan, "floating-point sRGB in"),
    (lambda frame: frame[:-1], "two frames of one shape"),
    (lambda frame: frame[..., :1], "two frames of one shape"),
    (lambda frame: frame[None], "two frames of one shape")))
def test_what_is_no_pair_of_frames_is_refused(change, message):
  first, second = _frames()
  with pytest.raises(ValueError, match=message):
    interpolate_pair(CrossFade(), first, change(second), 2)


def test_tiny_frames_and_strange_factors_are_refused():
  first, second = _frames(size=(3, 8))
  with pytest.raises(ValueError, match="at least 4 px"):
    interpolate_pair(CrossFade(), first, second, 2)
  for factor in (0, -8, 2.5):
    with pytest.raises(ValueError, match=f"whole number from 1 on, got {factor}"):
      interpolate_pair(CrossFade(), *_frames(), factor)


def test_interpolators_go_by_name(tmp_path):
  """Weights belong to RIFE alone, which cannot do without."""
  assert all(interpolator_named(name).name == name for name in ("flow", "cross_fade"))
  with pytest.raises(ValueError, match="Unknown interpolator 'film'; choose one of 'flow', 'rife', 'cross_fade'"):
    interpolator_named("film")
  with pytest.raises(ValueError, match="'flow' has no weights"):
    interpolator_named("flow", weights="rife.safetensors")
  with pytest.raises(ValueError, match="needs its weights"):
    interpolator_named("rife")
  with pytest.raises(FileNotFoundError, match="no weights at .*absent"):
    interpolator_named("rife", weights=tmp_path / "absent.safetensors")
  save_weights(tmp_path / "raft.safetensors", dict(params=dict(a=np.zeros(1))), dict(architecture=dict(name="raft")))
  with pytest.raises(ValueError, match="raft.safetensors holds weights of 'raft', not of 'ifnet'"):
    interpolator_named("rife", weights=tmp_path / "raft.safetensors")
