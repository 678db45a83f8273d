"""Video files as frames with the times at which they were captured: what a file states, and what of it is true.

Frames are sRGB `[H, W, 3]`, upright, of even sides, uint8; uint16 where the file has more than 8 bits, decoded at full
depth into linear light and back (`video_colors`). Times are seconds of the captured scene from the first frame on, by
presentation times, so that a variable rate is kept. A phone's slow motion is stored slower than it was captured. How
fast it was captured is known from, in this order of what counts,

- the rate that the caller gives;
- the tag `com.android.capture.fps` of Android and Samsung;
- the container: also of Apple's slow motion, whose files keep the true rate and only ask players to go slower.

Files are not trusted: only containers of cameras are opened, and nothing that they refer to; numbers of frames and
pixels are bounded; frames that a decoder could not make whole are named.

PyAV (the extra `data`) reads the files.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import pathlib
import re
import struct
from typing import Any

import numpy as np

from debir_jax.scenes import video_colors
from debir_jax.scenes.image_files import UnreadablePhotoError
from debir_jax.types import SUBFRAME_RATE_HZ

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".3gp", ".mts")
MAX_PIXELS = 2**26  # Of a frame: 8K has half as many.
MAX_FRAMES = 2**20  # 73 minutes at 240 frames per second.

_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts"
_OPTIONS = dict(format_whitelist=_CONTAINERS, protocol_whitelist="file")
_ANDROID_RATE, _APPLE_INTENT = "com.android.capture.fps", "com.apple.quicktime.full-frame-rate-playback-intent"
_UNSPECIFIED_MATRIX, _HD_HEIGHT = 2, 720
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}  # H.273 -> libswscale.
_FULL_RANGE = 2  # Of libavutil.
_ONE = 1 << 16  # Of the display matrix.


class UnreadableVideoError(UnreadablePhotoError):
  """A video that is missing, damaged, without pictures, or of a kind that cannot be read as it is meant to be."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoFacts:
  """What a video file is, by its header and the times of its packets; no frame is decoded for it.

  Attributes:
    path: the file.
    size: (height, width) of its frames, upright, px.
    times_s: when frames were captured, s after the first.
    rate_hz: at which they were captured, the median.
    rate_from: who says so.
    stated_rate_hz: by the container's times.
    num_frames_stated: by the header; 0: it does not say.
    bits: of a sample.
    transfer, primaries, matrix: code points of ITU-T H.273.
    turn: (a, b, c, d) of the display matrix in units of 1: x' = a x + c y, y' = b x + d y.
  """

  path: pathlib.Path
  size: tuple[int, int]
  times_s: tuple[float, ...]
  rate_hz: float
  rate_from: str
  stated_rate_hz: float
  num_frames_stated: int
  bits: int
  transfer: int
  primaries: int
  matrix: int
  turn: tuple[int, int, int, int]

  def __str__(self) -> str:
    """A line for people."""
    other = f"; the container says {self.stated_rate_hz:.4g}" if self.rate_hz != self.stated_rate_hz else ""
    notes = [f"{self.bits} bits {video_colors.TRANSFER_NAMES.get(self.transfer, 'SDR')}"] if self.bits > 8 else []
    notes += [] if self.turn == (1, 0, 0, 1) else ["turned or mirrored upright"]
    notes += [f"the header says {self.num_frames_stated} frames"] if self.num_frames_stated not in (
        0, len(self.times_s)) else []
    return (f"{self.path.name}: {len(self.times_s)} frames of {self.size[0]}x{self.size[1]} px at {self.rate_hz:.4g} "
            f"per second ({self.rate_from}{other})" + "".join(f", {note}" for note in notes))


def video_facts(path: pathlib.Path, *, rate_hz: float | None = None) -> VideoFacts:
  """What a file states, and the times of its frames.

  Args:
    path: the file.
    rate_hz: at which it was captured, where the caller knows; None: by its tags, or its container.

  Raises:
    UnreadableVideoError: it is missing or damaged, has no pictures, too many frames or pixels, colors that are not
      known here, or a rate that cannot be.
    ImportError: PyAV is not installed.
  """
  with _opened(path) as (container, stream):
    codec = stream.codec_context
    stamps, first = _stamps(path, container, stream), None
    stated_hz, times_s = _times(path, stream, stamps)
    tags = {name.lower(): text for tags in (container.metadata, stream.metadata) for name, text in tags.items()}
    rate_hz, rate_from = _rate(path, tags, stated_hz, rate_hz)
  with _opened(path) as (container, stream):
    first = _first_frame(path, container, stream)
    turn = _turn_of(path, first)
    _check_colors(path, codec)
    sides = first.height, first.width
    even = tuple(side // 2 * 2 for side in (sides if turn[0] else sides[::-1]))
    if min(even) < 2:
      raise UnreadableVideoError(f"{path} has frames of {sides[0]}x{sides[1]} px: too small for a Bayer cell.")
    return VideoFacts(
        path=path, size=even, times_s=tuple(stated_hz / rate_hz * time for time in times_s), rate_hz=rate_hz,
        rate_from=rate_from, stated_rate_hz=stated_hz, num_frames_stated=stream.frames,
        bits=_bits(first), transfer=int(first.color_trc), primaries=int(first.color_primaries),
        matrix=_matrix(first), turn=turn)


def video_frames(facts: VideoFacts, *, on_damaged: str = "stop") -> Iterator[tuple[float, np.ndarray]]:
  """Times, s, and frames of a file, in order of presentation.

  Args:
    facts: of the file.
    on_damaged: "stop", or "skip": frames that a decoder could not make whole are left out.

  Raises:
    UnreadableVideoError: a frame is damaged (with "stop"), or none can be read, or another size comes in between.
  """
  origin, last_s, count = None, -1.0, 0
  scale = facts.stated_rate_hz / facts.rate_hz
  with _opened(facts.path) as (container, stream):
    stream.thread_type = "AUTO"
    for place, frame in enumerate(_decoded(facts, container, stream, on_damaged)):
      stamp = place / facts.stated_rate_hz if frame.pts is None else float(frame.pts * frame.time_base)
      origin = stamp if origin is None else origin
      time_s = (stamp - origin) * scale
      if time_s <= last_s:
        continue  # Shown at the same moment as the one before it: an edit list, or a stamp that lies.
      last_s, count = time_s, count + 1
      yield time_s, _upright_srgb(facts, frame)
  if not count:
    raise UnreadableVideoError(f"{facts.path} has no frame that can be decoded. Remove or replace the file.")


def _decoded(facts, container, stream, on_damaged):
  """Whole frames of the right size; the others are an error, or left out."""
  damaged, size = 0, None
  for packet in container.demux(stream):
    try:
      frames = packet.decode()
    except _av().FFmpegError as error:
      frames, damaged = [], damaged + 1
      _check_damage(facts, on_damaged, damaged, packet, f"cannot be decoded ({_reason(error)})")
    for frame in frames:
      size = size or (frame.height, frame.width)
      if frame.is_corrupt:
        damaged += 1
        _check_damage(facts, on_damaged, damaged, frame, "is damaged")
      elif (frame.height, frame.width) != size:
        raise UnreadableVideoError(f"{facts.path} changes its size from {size} to {(frame.height, frame.width)} px. "
                                   "Cut it in two.")
      else:
        yield frame


def _check_damage(facts, on_damaged, count, at, what):
  if on_damaged == "stop" or count > MAX_FRAMES:
    when = "at its end" if at.pts is None else f"at {float(at.pts * at.time_base):.3f} s"
    raise UnreadableVideoError(f"{facts.path}: the frame {when} {what}. Remove or replace the file, or leave such "
                               "frames out (--on_unreadable=skip).")


@contextlib.contextmanager
def _opened(path):
  """The container and its first stream of pictures; whatever goes wrong names the file."""
  av = _av()
  if not path.is_file():
    raise UnreadableVideoError(f"There is no file {path}.")
  try:
    with av.open(str(path), options=_OPTIONS, metadata_errors="replace") as container:
      streams = [stream for stream in container.streams.video if stream.codec_context is not None]
      if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise UnreadableVideoError(f"{path} has no pictures, but {kinds}. Remove the file.")
      pixels = streams[0].codec_context.width * streams[0].codec_context.height
      if pixels > MAX_PIXELS:
        raise UnreadableVideoError(f"{path} has frames of {pixels} pixels, more than {MAX_PIXELS}. Reduce it.")
      yield container, streams[0]
  except (av.FFmpegError, OverflowError, MemoryError, UnicodeError) as error:
    raise UnreadableVideoError(f"{path} is truncated, damaged or no video ({_reason(error)}). Remove or replace the "
                               "file.") from error


def _av() -> Any:
  try:
    import av  # pylint: disable=g-import-not-at-top
  except ImportError as error:
    raise ImportError("Reading videos needs PyAV. Install it: pip install -e \".[data]\".") from error
  return av


def _reason(error) -> str:
  return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _stamps(path, container, stream) -> list[int | None]:
  """Presentation times of all packets in units of the stream, sorted; None where a file has none."""
  stamps = []
  for packet in container.demux(stream):
    if packet.size:
      stamps.append(packet.pts)
    if len(stamps) > MAX_FRAMES:
      raise UnreadableVideoError(f"{path} has more than {MAX_FRAMES} frames. Cut it into pieces.")
  if not stamps:
    raise UnreadableVideoError(f"{path} has no frames. Remove the file.")
  return sorted(stamps) if None not in stamps else [None] * len(stamps)


def _times(path, stream, stamps) -> tuple[float, list[float]]:
  """The rate that the container's times have, and these, s from the first."""
  if stamps[0] is None or len(stamps) == 1:
    rate = float(stream.average_rate or 0)
    times = [place / rate for place in range(len(stamps))] if rate > 0 else []
  else:
    times = [float((stamp - stamps[0]) * stream.time_base) for stamp in stamps]
    interval = float(np.median(np.diff(times)))
    rate = 1 / interval if interval > 0 else 0
  if not 0 < rate < 1e5:
    raise UnreadableVideoError(f"{path} does not tell the times of its frames. Write it anew, or give frames in a "
                               "folder.")
  return rate, times


def _rate(path, tags, stated_hz, given_hz) -> tuple[float, str]:
  """The rate of capture, and who says so."""
  if given_hz is not None:
    rate, source = float(given_hz), "--fps"
  elif _ANDROID_RATE in tags:
    rate, source = _number(tags[_ANDROID_RATE]), f"its tag {_ANDROID_RATE}"
  else:
    rate, source = stated_hz, "the container" + (", Apple's slow motion" if _APPLE_INTENT in tags else "")
  if not 1 <= rate <= SUBFRAME_RATE_HZ * 1.01:
    raise UnreadableVideoError(f"{path}: {rate:g} frames per second by {source}; expected 1 to {SUBFRAME_RATE_HZ}. "
                               "Give the true rate: --fps.")
  return rate, source


def _number(text) -> float:
  found = re.fullmatch(r"\s*([0-9]{1,6}(\.[0-9]{1,9})?)\s*", text)
  return float(found[1]) if found else 0.0


def _first_frame(path, container, stream):
  for packet in container.demux(stream):
    with contextlib.suppress(_av().FFmpegError):  # Told when frames are read.
      for frame in packet.decode():
        return frame
  raise UnreadableVideoError(f"{path} has no frame that can be decoded. Remove or replace the file.")


def _turn_of(path, frame) -> tuple[int, int, int, int]:
  """Entries of the display matrix that are not perspective, as whole numbers."""
  for data in frame.side_data.keys():
    if data.type.name == "DISPLAYMATRIX" and len(bytes(data)) == 36:
      a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data))
      turn = tuple(round(entry / _ONE) for entry in (a, b, c, d))
      if turn not in _TURNS:
        raise UnreadableVideoError(f"{path} is turned by an angle that is none of 90 degrees. Write it anew, upright.")
      return turn
  return 1, 0, 0, 1


def _check_colors(path, codec) -> None:
  try:
    video_colors.check_transfer(int(codec.color_trc), int(codec.color_primaries))
  except ValueError as error:
    raise UnreadableVideoError(f"{path} is in colors that are not known here: {error}. Write it anew in BT.709.") from (
        error)


def _bits(frame) -> int:
  return max(component.bits for component in frame.format.components)


def _matrix(frame) -> int:
  """By which R'G'B' became Y'CbCr; where it is not stated that of BT.709 for HD, that of BT.601 below."""
  stated = int(frame.colorspace)
  if stated in _MATRICES:
    return stated
  return 1 if min(frame.height, frame.width) >= _HD_HEIGHT else 6


_TURNS = {(1, 0, 0, 1): lambda p: p, (-1, 0, 0, 1): lambda p: p[:, ::-1], (1, 0, 0, -1): lambda p: p[::-1],
          (-1, 0, 0, -1): lambda p: p[::-1, ::-1], (0, 1, 1, 0): lambda p: p.swapaxes(0, 1),
          (0, 1, -1, 0): lambda p: p.swapaxes(0, 1)[:, ::-1], (0, -1, 1, 0): lambda p: p.swapaxes(0, 1)[::-1],
          (0, -1, -1, 0): lambda p: p.swapaxes(0, 1)[::-1, ::-1]}


def _upright_srgb(facts, frame) -> np.ndarray:
  deep = facts.bits > 8 or not video_colors.is_sdr(facts.transfer, facts.primaries)
  rgb = _deep_codes(facts, frame) if deep else _rgb(facts, frame, "rgb24")
  upright = np.ascontiguousarray(_TURNS[facts.turn](rgb)[:facts.size[0], :facts.size[1]])
  return video_colors.to_srgb(upright, facts.transfer, facts.primaries) if deep else upright


def _rgb(facts, frame, pixel_format) -> np.ndarray:
  options = _av().video.reformatter
  return frame.to_ndarray(
      format=pixel_format, src_colorspace=_MATRICES[facts.matrix], dst_color_range=options.ColorRange.JPEG,
      interpolation=options.Interpolation.BILINEAR | options.Interpolation.FULL_CHR_H_INT
      | options.Interpolation.ACCURATE_RND)


def _deep_codes(facts, frame) -> np.ndarray:
  """R'G'B' `[H, W, 3]`, uint16 at full range. libswscale's own matrix loses 0.4 % of 10 bits."""
  if frame.format.is_rgb or facts.bits not in (10, 12):
    return _rgb(facts, frame, "gbrp16le")
  full_chroma = frame.reformat(format=f"yuv444p{facts.bits}le")
  rows = [np.frombuffer(plane, "<u2").reshape(frame.height, -1)[:, :frame.width] for plane in full_chroma.planes]
  planes, is_full = np.stack(rows, axis=-1), int(frame.color_range) == _FULL_RANGE
  return video_colors.rgb_codes(planes, facts.bits, facts.matrix, is_full=is_full)
