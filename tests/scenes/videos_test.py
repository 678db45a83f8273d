"""Laws of the video reader: rates, times, sides, colors and damage."""

import os
import pathlib

import numpy as np
import pytest

from debir_jax.scenes import video_colors, videos
from debir_jax.scenes.videos import UnreadableVideoError, video_facts, video_frames

av = pytest.importorskip("av", reason="the extra data is not installed")


@pytest.fixture
def fixtures(shared_dir):
  return shared_dir / "data" / "clips" / "fixtures"


def write_video(path, frames, rate=30, *, codec="libx264", pixel_format="yuv444p", metadata=None, stamps=None,
                options=None, **colors):
  """A video of frames `[F, H, W, 3]`, uint8; `stamps` in units of 1/1000 s in the place of even times."""
  from fractions import Fraction
  with av.open(str(path), "w", options=dict(movflags="use_metadata_tags")) as container:
    for name, text in (metadata or {}).items():
      container.metadata[name] = text
    stream = container.add_stream(codec, rate=rate, options=options or dict(qp="0", preset="ultrafast"))
    stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], pixel_format
    stream.codec_context.time_base = Fraction(1, 1000) if stamps else Fraction(1, rate)
    for name, value in colors.items():
      setattr(stream.codec_context, name, value)
    for place, pixels in enumerate(frames):
      frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
      frame.pts, frame.time_base = stamps[place] if stamps else place, stream.codec_context.time_base
      for packet in stream.encode(frame):
        container.mux(packet)
    for packet in stream.encode():
      container.mux(packet)
  return path


def _grey(num_frames=4, size=(16, 24)):
  levels = np.arange(num_frames, dtype=np.uint8)[:, None, None, None] * 20 + 40
  return np.broadcast_to(levels, (num_frames, *size, 3)).copy()


def test_the_rate_is_the_callers_else_the_tags_else_the_containers(tmp_path):
  """And times are those of the scene: slow motion is played slower than it was captured."""
  plain = write_video(tmp_path / "plain.mp4", _grey())
  slow = write_video(tmp_path / "slow.mp4", _grey(), metadata={"com.android.capture.fps": "240.000000"})
  apple = write_video(tmp_path / "apple.mov", _grey(), rate=240,
                      metadata={"com.apple.quicktime.full-frame-rate-playback-intent": "0"})
  for path, given, rate, source in ((plain, None, 30, "the container"), (plain, 120, 120, "--fps"),
                                    (slow, None, 240, "its tag com.android.capture.fps"), (slow, 960, 960, "--fps"),
                                    (apple, None, 240, "the container, Apple's slow motion")):
    facts = video_facts(path, rate_hz=given)
    assert (round(facts.rate_hz, 3), facts.rate_from) == (rate, source)
    times = [time for time, _ in video_frames(facts)]
    np.testing.assert_allclose(times, np.arange(4) / rate, atol=1e-6)
    np.testing.assert_allclose(facts.times_s, times, atol=1e-6)
  assert "240 per second (its tag com.android.capture.fps; the container says 30)" in str(video_facts(slow))


def test_rates_that_cannot_be_are_refused(tmp_path):
  """A tag that is no number, or 5000 per second: give the true rate."""
  for tag in ("5000", "0", "many", "-1", "1e9"):
    path = write_video(tmp_path / "clip.mp4", _grey(), metadata={"com.android.capture.fps": tag})
    with pytest.raises(UnreadableVideoError, match="frames per second by its tag.*Give the true rate: --fps"):
      video_facts(path)
    assert video_facts(path, rate_hz=240).rate_hz == 240


def test_rates_that_vary_are_kept(tmp_path):
  """By presentation times, of which the median is the rate."""
  path = write_video(tmp_path / "clip.mp4", _grey(5), stamps=[0, 16, 33, 50, 68])
  facts = video_facts(path)
  np.testing.assert_allclose([time for time, _ in video_frames(facts)], [0, 0.016, 0.033, 0.050, 0.068], atol=1e-4)
  assert abs(facts.rate_hz - 1 / 0.017) < 1


def test_odd_sides_are_cut(tmp_path):
  """To whole Bayer cells."""
  path = write_video(tmp_path / "clip.mp4", _grey(size=(17, 23)))
  facts = video_facts(path)
  assert facts.size == (16, 22) and next(video_frames(facts))[1].shape == (16, 22, 3)


@pytest.mark.parametrize("matrix, stated", [(1, 1), (6, 6), (6, 2)])
@pytest.mark.parametrize("is_full", [False, True])
def test_colors_come_back_by_the_files_matrix_and_range(tmp_path, matrix, stated, is_full):
  """R'G'B' -> Y'CbCr by BT.709 or BT.601 and back, all within rounding; small frames that state none are BT.601."""
  rng = np.random.default_rng(0)
  rgb = np.repeat(np.repeat(rng.integers(0, 256, (4, 6, 3)), 4, 0), 4, 1).astype(np.uint8)
  weights = video_colors._LUMA_WEIGHTS[matrix]
  luma = rgb @ np.array([weights[0], 1 - sum(weights), weights[1]])
  blue, red = ((rgb[..., place] - luma) / (2 * (1 - weight)) for place, weight in ((2, weights[1]), (0, weights[0])))
  scale, offset = ((1, 1), (0, 128)) if is_full else ((219 / 255, 224 / 255), (16, 128))
  planes = [np.round(plane * scale[k] + offset[k]) for k, plane in ((0, luma), (1, blue), (1, red))]
  path = tmp_path / "clip.mp4"
  with av.open(str(path), "w") as container:
    stream = container.add_stream("libx264", rate=30, options=dict(qp="0"))
    stream.width, stream.height, stream.pix_fmt = 24, 16, "yuv444p"
    stream.codec_context.colorspace, stream.codec_context.color_range = stated, 2 if is_full else 1
    frame = av.VideoFrame.from_ndarray(np.stack(planes).clip(0, 255).astype(np.uint8), format="yuv444p")
    frame.colorspace, frame.color_range = stated, 2 if is_full else 1
    for packet in [*stream.encode(frame), *stream.encode()]:
      container.mux(packet)
  _, read = next(video_frames(video_facts(path)))
  assert np.abs(read.astype(int) - rgb).max() <= 3


def test_display_matrices_turn_and_mirror():
  """x' = a x + c y, y' = b x + d y, for all eight, against the obvious."""
  image = np.arange(6).reshape(2, 3)
  for turn, change in videos._TURNS.items():
    a, b, c, d = turn
    places = {(int(a * x + c * y), int(b * x + d * y)): image[y, x] for y in range(2) for x in range(3)}
    xs, ys = sorted({x for x, _ in places}), sorted({y for _, y in places})
    np.testing.assert_array_equal(change(image), [[places[x, y] for x in xs] for y in ys])


def test_phones_clips_are_read_as_they_are_meant(fixtures):
  """Rotated, mirrored, of varying rate, of 10 bits: sizes, rates and depths of the fixtures."""
  expected = {
      "sample_sef_slow_motion.mp4": ((240, 320), 240, "uint8"), "portrait_4k60.mp4": ((3840, 2160), 60, "uint8"),
      "sample_android_slow_motion.mp4": ((720, 1280), 240, "uint8"), "bt601.mov": ((428, 640), 30, "uint8"),
      "sample_rotate_and_reflect.mp4": ((1080, 720), 30, "uint8"), "dolbyVision-hdr.MOV": ((1280, 720), 30, "uint16"),
      "hlg10-color-test.mp4": ((1080, 1920), 30, "uint16"), "hdr10-av1.mp4": ((1280, 720), 30, "uint16")}
  for name, (size, rate, dtype) in expected.items():
    facts = video_facts(fixtures / name)
    _, pixels = next(video_frames(facts))
    assert (facts.size, round(facts.rate_hz), pixels.dtype) == (size, rate, dtype)
    assert pixels.shape == (*size, 3)
  deep = next(video_frames(video_facts(fixtures / "hlg10-color-test.mp4")))[1]
  assert len(np.unique(deep)) > 10_000


def test_headers_that_lie_about_their_frames_are_believed_in_nothing(fixtures):
  """64 stated and 63 decoded; the gap of a file whose slow motion ends is kept."""
  facts = video_facts(fixtures / "sample_sef_slow_motion.mp4")
  assert facts.num_frames_stated == 64 and len(list(video_frames(facts))) == 63
  times = np.diff(video_facts(fixtures / "sample_android_slow_motion.mp4").times_s)
  np.testing.assert_allclose(times[1:], 1 / 240, rtol=1e-3)
  assert times[0] > 9 / 240 or times[-1] > 9 / 240


def test_transfer_functions_are_those_of_bt2100():
  """Half of HLG's signal is 1/12 of its light, all of it 1; 58.07 % of PQ are 203 cd/m2, 75.18 % 1000."""
  hlg, pq = (np.array(codes) for codes in ([0, 0.5, 0.75, 1], [0, 0.5807, 0.7518, 1]))
  np.testing.assert_allclose(video_colors.hlg_to_linear(hlg), [0, 1 / 12, 0.26496, 1], atol=1e-5)
  np.testing.assert_allclose(video_colors.pq_to_linear(pq), [0, 0.203, 1, 10], rtol=2e-3)


def test_grey_stays_grey_and_primaries_of_bt2020_are_those_of_bt2087():
  """ITU-R BT.2087's matrix to BT.709; white is white."""
  codes = np.array([[65535, 0, 0], [0, 65535, 0], [0, 0, 65535], [65535] * 3], np.uint16)
  np.testing.assert_allclose(video_colors.linear_light(codes, 8, 9), [
      [1.6605, -0.1246, -0.0182], [-0.5876, 1.1329, -0.1006], [-0.0728, -0.0083, 1.1187], [1, 1, 1]], atol=2e-4)


@pytest.mark.parametrize("bits", [10, 12])
def test_deep_codes_keep_their_depth(bits):
  """Grey ramps at limited range: black, white, and as many levels as there are codes."""
  unit = 2**(bits - 8)
  codes = np.arange(16 * unit, 235 * unit + 1)
  planes = np.stack([codes, np.full_like(codes, 128 * unit), np.full_like(codes, 128 * unit)], -1).astype(np.uint16)
  read = video_colors.rgb_codes(planes, bits, 9, is_full=False)
  assert read[0].tolist() == [0] * 3 and read[-1].tolist() == [65535] * 3
  assert len(np.unique(read[:, 0])) == len(codes) and np.ptp(read.astype(int), axis=1).max() <= 1


def test_files_that_are_no_videos_are_named(tmp_path):
  """Missing, empty, text, audio alone, playlists that refer to other files: one line each."""
  (tmp_path / "empty.mp4").write_bytes(b"")
  (tmp_path / "text.mp4").write_text("hello " * 1000)
  (tmp_path / "playlist.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n")
  (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile /etc/passwd\n")
  with av.open(str(tmp_path / "audio.mp4"), "w") as container:
    stream = container.add_stream("aac", rate=44100)
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
    frame.sample_rate = 44100
    for packet in [*stream.encode(frame), *stream.encode()]:
      container.mux(packet)
  for name, message in (("none.mp4", "There is no file"), ("empty.mp4", "truncated, damaged or no video"),
                        ("text.mp4", "no video"), ("playlist.mp4", "no video"), ("list.mp4", "no video"),
                        ("audio.mp4", "has no pictures, but audio")):
    with pytest.raises(UnreadableVideoError, match=message):
      video_facts(tmp_path / name)


def test_truncated_videos_stop_by_name_or_give_what_is_whole(tmp_path):
  """Half of a Matroska file: the damaged frame is named, or left out."""
  rng = np.random.default_rng(0)
  path = write_video(tmp_path / "clip.mkv", rng.integers(0, 256, (20, 64, 64, 3)).astype(np.uint8))
  path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
  whole = list(video_frames(video_facts(path), on_damaged="skip"))
  assert 5 <= len(whole) <= 12
  hole = write_video(tmp_path / "hole.mkv", rng.integers(0, 256, (20, 64, 64, 3)).astype(np.uint8))
  data = bytearray(hole.read_bytes())
  data[len(data) // 2:len(data) // 2 + 8000] = bytes(8000)
  hole.write_bytes(data)
  with pytest.raises(UnreadableVideoError, match="hole.mkv: the frame at .* s .*--on_unreadable=skip"):
    list(video_frames(video_facts(hole)))
  assert len(list(video_frames(video_facts(hole), on_damaged="skip"))) < 20


def test_large_frames_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
  path = write_video(tmp_path / "clip.mp4", _grey())
  monkeypatch.setattr(videos, "MAX_PIXELS", 100)
  with pytest.raises(UnreadableVideoError, match="frames of 384 pixels, more than 100"):
    video_facts(path)
  monkeypatch.setattr(videos, "MAX_PIXELS", 1000)
  monkeypatch.setattr(videos, "MAX_FRAMES", 2)
  with pytest.raises(UnreadableVideoError, match="more than 2 frames"):
    video_facts(path)


def test_colors_that_are_not_known_are_refused(tmp_path):
  """A logarithmic curve, DCI's XYZ."""
  for name, value, message in (("color_trc", 9, "transfer function 9"), ("color_primaries", 10, "primaries 10")):
    path = write_video(tmp_path / "clip.mp4", _grey(), **{name: value})
    with pytest.raises(UnreadableVideoError, match=f"colors that are not known here: the {message}"):
      video_facts(path)


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
  import sys
  monkeypatch.setitem(sys.modules, "av", None)
  with pytest.raises(ImportError, match=r'pip install -e "\.\[data\]"'):
    video_facts(pathlib.Path(os.fspath(tmp_path / "clip.mp4")))
