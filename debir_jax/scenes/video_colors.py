"""From the code values of a video to sRGB: transfer functions and primaries by the code points of ITU-T H.273.

Code values are R'G'B' at full range, in [0, 1]. Linear light has white = 1, which is where the sensor saturates: the
brightest that HLG can hold, and PQ's 1000 cd/m2, HLG's nominal peak. Paper is then at a fourth of white, as in RAW that
was exposed for the highlights. SDR video counts as sRGB, whatever curve it names: cameras bend theirs at will, and the
paper's frames are read in the same way.
"""

import functools

import numpy as np

from debir_jax.scenes import file_colors

LEVELS = 65535  # Of 16 bits.
_PQ, _HLG, _LINEAR, _UNSPECIFIED = 16, 18, 8, 2
_SDR_TRANSFERS = (0, 1, 2, 4, 5, 6, 7, 11, 13, 14, 15)
TRANSFER_NAMES = {_PQ: "PQ", _HLG: "HLG", _LINEAR: "linear", _UNSPECIFIED: "not stated, taken as SDR"}

# x and y of white, red, green, blue. BT.601's two sets are so close to BT.709's that SDR is not converted.
_WIDE_PRIMARIES = {9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
                   12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)}
# Of red and blue in luma, by the matrix' code point.
_LUMA_WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
_PQ_WHITE_NITS = 1000.0  # The nominal peak of HLG's displays, BT.2100.
_HLG_A = 0.17883277  # BT.2100, Table 5.
_HLG_B, _HLG_C = 1 - 4 * _HLG_A, 0.5 - _HLG_A * np.log(4 * _HLG_A)


def check_transfer(transfer: int, primaries: int) -> None:
  """Raises ValueError for code points whose light is not known here."""
  if transfer not in (*_SDR_TRANSFERS, _PQ, _HLG, _LINEAR):
    raise ValueError(f"the transfer function {transfer} of ITU-T H.273")
  if primaries not in _WIDE_PRIMARIES and primaries not in (0, 1, 2, 4, 5, 6, 7, 22):
    raise ValueError(f"the primaries {primaries} of ITU-T H.273")


def is_sdr(transfer: int, primaries: int) -> bool:
  """Whether code values are sRGB as they are."""
  return transfer in _SDR_TRANSFERS and primaries not in _WIDE_PRIMARIES


def rgb_codes(planes: np.ndarray, bits: int, matrix: int, *, is_full: bool) -> np.ndarray:
  """R'G'B' `[..., 3]`, uint16 at full range, of Y'CbCr.

  Args:
    planes: `[..., 3]`, integers: Y', Cb, Cr.
    bits: of these.
    matrix: code point of ITU-T H.273; another one than those known here counts as BT.601's.
    is_full: they use all levels; else those of BT.601 and its kin, 16 to 235 (240) of 255.
  """
  unit = 2.0**(bits - 8)
  black, luma_range, chroma_range = (0, 2**bits - 1, 2**bits - 1) if is_full else (16 * unit, 219 * unit, 224 * unit)
  luma, blue, red = np.moveaxis(planes.astype(np.float32), -1, 0)
  luma, blue, red = (luma - black) / luma_range, (blue - 128 * unit) / chroma_range, (red - 128 * unit) / chroma_range
  red_weight, blue_weight = _LUMA_WEIGHTS.get(matrix, _LUMA_WEIGHTS[6])
  r, b = luma + 2 * (1 - red_weight) * red, luma + 2 * (1 - blue_weight) * blue
  g = (luma - red_weight * r - blue_weight * b) / (1 - red_weight - blue_weight)
  return np.round(LEVELS * np.clip(np.stack([r, g, b], axis=-1), 0, 1)).astype(np.uint16)


def hlg_to_linear(code: np.ndarray) -> np.ndarray:
  """Scene light in [0, 1] of HLG code values: the inverse OETF of BT.2100, Table 5."""
  code = np.asarray(code, np.float64)
  return np.where(code <= 0.5, code**2 / 3, (np.exp((code - _HLG_C) / _HLG_A) + _HLG_B) / 12)


def pq_to_linear(code: np.ndarray) -> np.ndarray:
  """Light in [0, 10] of PQ code values: the EOTF of BT.2100, Table 4, over 1000 cd/m2."""
  m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
  root = np.asarray(code, np.float64)**(1 / m2)
  return 10_000 / _PQ_WHITE_NITS * (np.maximum(root - c1, 0) / (c2 - c3 * root))**(1 / m1)


def linear_light(codes: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
  """Linear light in sRGB's primaries, white = 1, neither clipped above nor below.

  Args:
    codes: `[..., 3]`, uint16, code values times 65535.
    transfer, primaries: code points of ITU-T H.273.

  Raises:
    ValueError: code points that are not known here.
  """
  check_transfer(transfer, primaries)
  linear = _linear_of_code(transfer)[codes]
  return linear @ _to_srgb_primaries(primaries).T if primaries in _WIDE_PRIMARIES else linear


def to_srgb(codes: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
  """sRGB `[..., 3]`, uint16, of 16-bit code values; PQ is cut at white, colors outside of sRGB at its border."""
  if is_sdr(transfer, primaries):
    return codes
  linear = np.clip(linear_light(codes, transfer, primaries), 0, 1)
  encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 0.0031308)**(1 / 2.4) - 0.055)
  return np.round(LEVELS * encoded).astype(np.uint16)


@functools.lru_cache(maxsize=4)
def _linear_of_code(transfer):
  codes = np.arange(LEVELS + 1) / LEVELS
  decode = {_HLG: hlg_to_linear, _PQ: pq_to_linear, _LINEAR: lambda code: code}.get(transfer, file_colors.decoded)
  return decode(codes).astype(np.float32)


@functools.lru_cache(maxsize=4)
def _to_srgb_primaries(primaries):
  return file_colors.to_linear_srgb(_WIDE_PRIMARIES[primaries]).astype(np.float32)
