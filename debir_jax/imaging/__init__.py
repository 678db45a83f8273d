"""What every part needs of a camera's color: pure functions, inverse pairs side by side."""

from debir_jax.imaging.bayer import (
    check_packed,
    demosaic_malvar,
    flip_left_right,
    flip_up_down,
    mosaic,
    pack,
    transpose,
    unpack,
)
from debir_jax.imaging.color import (
    apply_ccm,
    apply_white_balance,
    camera_rgb_to_linear_srgb,
    invert_ccm,
    invert_white_balance,
    linear_srgb_to_camera_rgb,
    linear_to_srgb,
    random_camera_color,
    random_ccm,
    random_release_ccm,
    release_ccms,
    srgb_to_linear,
)
from debir_jax.imaging.isp import binned_srgb, half_resolution_srgb, linear_srgb, view

__all__ = [
    "apply_ccm", "apply_white_balance", "binned_srgb", "camera_rgb_to_linear_srgb", "check_packed",
    "demosaic_malvar", "flip_left_right", "flip_up_down", "half_resolution_srgb", "invert_ccm", "invert_white_balance",
    "linear_srgb", "linear_srgb_to_camera_rgb", "linear_to_srgb", "mosaic", "pack", "random_camera_color", "random_ccm",
    "random_release_ccm", "release_ccms", "srgb_to_linear", "transpose", "unpack", "view"]
