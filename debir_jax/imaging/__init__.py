"""What every part needs of a camera's colour: pure functions, inverse pairs side by side."""

from debir_jax.imaging.bayer import check_packed
from debir_jax.imaging.bayer import demosaic_malvar
from debir_jax.imaging.bayer import flip_left_right
from debir_jax.imaging.bayer import flip_up_down
from debir_jax.imaging.bayer import mosaic
from debir_jax.imaging.bayer import pack
from debir_jax.imaging.bayer import transpose
from debir_jax.imaging.bayer import unpack
from debir_jax.imaging.color import apply_ccm
from debir_jax.imaging.color import apply_white_balance
from debir_jax.imaging.color import camera_rgb_to_linear_srgb
from debir_jax.imaging.color import invert_ccm
from debir_jax.imaging.color import invert_white_balance
from debir_jax.imaging.color import linear_srgb_to_camera_rgb
from debir_jax.imaging.color import linear_to_srgb
from debir_jax.imaging.color import random_camera_color
from debir_jax.imaging.color import random_ccm
from debir_jax.imaging.color import random_release_ccm
from debir_jax.imaging.color import release_ccms
from debir_jax.imaging.color import srgb_to_linear
from debir_jax.imaging.isp import binned_srgb
from debir_jax.imaging.isp import halved_srgb
from debir_jax.imaging.isp import linear_srgb
from debir_jax.imaging.isp import view

__all__ = [
    "apply_ccm", "apply_white_balance", "binned_srgb", "camera_rgb_to_linear_srgb", "check_packed",
    "demosaic_malvar", "flip_left_right", "flip_up_down", "halved_srgb", "invert_ccm", "invert_white_balance",
    "linear_srgb", "linear_srgb_to_camera_rgb", "linear_to_srgb", "mosaic", "pack", "random_camera_color", "random_ccm",
    "random_release_ccm", "release_ccms", "srgb_to_linear", "transpose", "unpack", "view"]
