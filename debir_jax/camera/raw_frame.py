"""One RAW frame with all that is known of how it was taken, whatever file or camera it comes from.

Counts are those of the sensor, as RGGB mosaic `[H, W]` with even sides; `packed` are the same relative to white = 1
after black level, planes `[h, w, 4]` in the order R, Gr, Gb, B. Exposure times are in seconds, ISO is the camera's.
"""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np

from debir_jax.camera.noise_profile import NoiseProfile
from debir_jax.imaging.color import SRGB_TO_XYZ
from debir_jax.types import CameraColor

LEAST_SIDE = 8  # Mosaic px: what demosaicking and alignment need.
_WRITTEN_BLACK, _WRITTEN_WHITE = 2048, 65535  # Of frames that are computed: room below black for noise.


@dataclasses.dataclass(frozen=True, kw_only=True)
class LensSettings:
  """What a file says of lens and time, carried over into what is made of it; None where it does not.

  Attributes:
    aperture: f-number.
    focal_length_mm: of the lens.
    taken_at: local time, as EXIF writes it: "2026:11:30 12:00:00".
  """

  aperture: float | None = None
  focal_length_mm: float | None = None
  taken_at: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RawFrame:
  """A frame.

  Attributes:
    mosaic: `[H, W]`, uint16 counts, RGGB.
    black_levels: counts without light of R, Gr, Gb, B.
    white_level: count at which the sensor saturates.
    white_balance: gains of R, G, B that make grey neutral, G = 1.
    xyz_to_camera: matrix `[3, 3]` from CIE XYZ (D65) to camera RGB: DNG's ColorMatrix.
    exposure_time: s; None where nobody says.
    iso: None where nobody says.
    noise: None where nobody says.
    orientation: EXIF's, 1 to 8; pixels are as the sensor has them.
    camera: make and model; "" where nobody says.
    source: file or device, for messages.
    cfa: of the sensor, before rows and columns were cut off to make it RGGB.
    lens: of lens and time.
  """

  mosaic: np.ndarray
  black_levels: tuple[float, float, float, float]
  white_level: float
  white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
  xyz_to_camera: np.ndarray = dataclasses.field(default_factory=lambda: np.linalg.inv(SRGB_TO_XYZ))
  exposure_time: float | None = None
  iso: float | None = None
  noise: NoiseProfile | None = None
  orientation: int = 1
  camera: str = ""
  source: str = "a frame"
  cfa: str = "RGGB"
  lens: LensSettings = LensSettings()

  def __post_init__(self):
    height, width = self.mosaic.shape
    if self.mosaic.dtype != np.uint16 or height % 2 or width % 2 or min(height, width) < LEAST_SIDE:
      raise ValueError(f"{self.source}: a mosaic is uint16 with even sides of {LEAST_SIDE} px or more, got "
                       f"{self.mosaic.dtype} {height}x{width}.")
    if not all(0 <= black < self.white_level <= 65535 for black in self.black_levels):
      raise ValueError(f"{self.source}: black levels {self.black_levels} and white level {self.white_level} make no "
                       "sense: 0 <= black < white <= 65535.")
    if not all(0 < gain < 100 for gain in self.white_balance):
      raise ValueError(f"{self.source}: white balance {self.white_balance} must be positive gains.")
    for name, value in (("exposure time", self.exposure_time), ("ISO", self.iso)):
      if value is not None and not 0 < value < 1e7:
        raise ValueError(f"{self.source}: the {name} must be positive, got {value}.")

  @property
  def size(self) -> tuple[int, int]:
    """(height, width) in packed px."""
    return self.mosaic.shape[0] // 2, self.mosaic.shape[1] // 2

  def packed(self, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
    """Planes `[h, w, 4]`, float32, white = 1 after black level, of these rows and columns of packed px; not clipped."""
    height, width = self.size
    cells = self.mosaic.reshape(height, 2, width, 2)[rows, :, columns]
    planes = cells.transpose(0, 2, 1, 3).reshape(cells.shape[0], cells.shape[2], 4).astype(np.float32)
    black = np.asarray(self.black_levels, np.float32)
    return (planes - black) / (np.float32(self.white_level) - black)

  @functools.cached_property
  def color(self) -> CameraColor:
    """How to view it."""
    return CameraColor(white_balance=jnp.asarray(self.white_balance, jnp.float32),
                       ccm=jnp.asarray(camera_to_srgb(self.xyz_to_camera), jnp.float32))

  def with_packed(self, planes: np.ndarray, noise: NoiseProfile | None) -> "RawFrame":
    """A computed frame in the place of this one, in 16 bits with room below black.

    Args:
      planes: `[h, w, 4]`, white = 1; what lies beyond the range of 16 bits is cut.
      noise: of the planes, where it is known.
    """
    height, width = planes.shape[:2]
    counts = np.asarray(planes, np.float32) * (_WRITTEN_WHITE - _WRITTEN_BLACK) + _WRITTEN_BLACK
    counts = np.clip(np.rint(counts), 0, 65535).astype(np.uint16).reshape(height, width, 2, 2)
    return dataclasses.replace(self, mosaic=counts.transpose(0, 2, 1, 3).reshape(2 * height, 2 * width),
                               black_levels=(_WRITTEN_BLACK,) * 4, white_level=_WRITTEN_WHITE, noise=noise)


def camera_to_srgb(xyz_to_camera: np.ndarray) -> np.ndarray:
  """White-balanced camera RGB -> linear sRGB `[3, 3]`, rows that sum to 1, of a matrix from XYZ.

  Raises:
    ValueError: the matrix cannot be inverted.
  """
  srgb_to_camera = np.asarray(xyz_to_camera, np.float64) @ SRGB_TO_XYZ
  sums = srgb_to_camera.sum(1, keepdims=True)
  if not np.all(np.isfinite(srgb_to_camera)) or np.any(np.abs(sums) < 1e-6):
    raise ValueError(f"The color matrix {np.asarray(xyz_to_camera).tolist()} sees no white.")
  normalised = srgb_to_camera / sums  # Grey must map to grey.
  if abs(np.linalg.det(normalised)) < 1e-6:
    raise ValueError(f"The color matrix {np.asarray(xyz_to_camera).tolist()} cannot be inverted.")
  return np.linalg.inv(normalised)


def xyz_to_camera_of(camera_to_srgb_matrix: np.ndarray, daylight: np.ndarray) -> np.ndarray:
  """The inverse of `camera_to_srgb`, up to a factor.

  Args:
    camera_to_srgb_matrix: `[3, 3]`, rows sum to 1.
    daylight: white balance gains `[3]` of daylight, which that normalisation took out.
  """
  return np.diag(1 / np.asarray(daylight)) @ np.linalg.inv(camera_to_srgb_matrix) @ np.linalg.inv(SRGB_TO_XYZ)
