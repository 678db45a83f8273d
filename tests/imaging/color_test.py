"""Laws of the color conversions."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.imaging import color


def test_srgb_to_linear_known_values():
  """0 -> 0, 1 -> 1, both ends of the linear segment, and mid grey 0.5 -> 0.21404."""
  result = color.srgb_to_linear(jnp.array([0.0, 0.04045, 0.5, 1.0]))
  np.testing.assert_allclose(result, [0, 0.04045 / 12.92, 0.214041, 1], atol=1e-6)


def test_srgb_round_trip(x64):
  """sRGB -> linear -> sRGB and back are no-ops on a range beyond [0, 1]; the curve's two pieces meet to 2e-7."""
  values = jnp.linspace(-0.2, 1.5, 1001)
  np.testing.assert_allclose(color.linear_to_srgb(color.srgb_to_linear(values)), values, atol=1e-7)
  np.testing.assert_allclose(color.srgb_to_linear(color.linear_to_srgb(values)), values, atol=1e-7)


@pytest.mark.parametrize("function", [color.srgb_to_linear, color.linear_to_srgb])
def test_gamma_gradients_are_finite_and_right(function, x64):
  """Finite at 0 and below; equal to central differences away from the joint."""
  values = jnp.array([-0.5, 0.0, 1e-9, 0.002, 0.2, 0.9, 1.3])
  gradient = jax.vmap(jax.grad(function))(values)
  numeric = (function(values + 1e-6) - function(values - 1e-6)) / 2e-6
  np.testing.assert_allclose(gradient, numeric, rtol=1e-6)


def test_camera_round_trip():
  """linear sRGB -> camera RGB -> linear sRGB is a no-op for random cameras, jitted and vmapped too."""
  rgb = jax.random.uniform(jax.random.key(0), (5, 4, 3))
  there_and_back = lambda camera: color.camera_rgb_to_linear_srgb(color.linear_srgb_to_camera_rgb(rgb, camera), camera)
  for draw_ccm in (color.random_ccm, color.random_release_ccm):
    keys = jax.random.split(jax.random.key(1), 8)
    colors = jax.vmap(lambda key: color.random_camera_color(key, draw_ccm=draw_ccm))(keys)
    results = jax.jit(jax.vmap(there_and_back))(colors)
    np.testing.assert_allclose(results, jnp.broadcast_to(rgb, results.shape), atol=5e-6)
    first = color.random_camera_color(keys[0], draw_ccm=draw_ccm)
    np.testing.assert_allclose(there_and_back(first), results[0], atol=5e-6)


def test_white_balance_and_ccm_invert():
  """Each step of the chain undoes its partner."""
  rgb = jax.random.uniform(jax.random.key(0), (7, 3))
  gains, ccm = jnp.array([2.0, 1.0, 1.7]), color.random_ccm(jax.random.key(2))
  np.testing.assert_allclose(color.invert_white_balance(color.apply_white_balance(rgb, gains), gains), rgb, rtol=1e-6)
  np.testing.assert_allclose(color.invert_ccm(color.apply_ccm(rgb, ccm), ccm), rgb, atol=3e-6)
  np.testing.assert_allclose(color.apply_ccm(rgb, ccm), np.einsum("ij,nj->ni", ccm, rgb), atol=1e-6)


def test_ccms_keep_grey_neutral():
  """Rows of every color matrix sum to 1."""
  drawn = jax.vmap(color.random_ccm)(jax.random.split(jax.random.key(0), 16))
  for ccm in (*color.release_ccms(), *drawn):
    np.testing.assert_allclose(np.sum(ccm, axis=1), 1, atol=1e-5)


def test_release_matrix_known_value():
  """The inverse of the first release matrix is camera A as published, up to the renormalised rows."""
  first = np.linalg.inv(np.asarray(color.release_ccms()[0], np.float64))
  np.testing.assert_allclose(first, [[.6443, .1114, .2443], [.1731, .6422, .1847], [.0687, .2639, .6675]], atol=2e-4)


def test_random_ccm_lies_between_the_cameras():
  """The mean over many draws is close to the mixture with equal weights."""
  drawn = jax.vmap(color.random_ccm)(jax.random.split(jax.random.key(3), 2000))
  forward = color._XYZ_TO_CAMERA.mean(axis=0) @ color.SRGB_TO_XYZ
  mixture = forward / forward.sum(axis=1, keepdims=True)
  np.testing.assert_allclose(np.linalg.inv(drawn).mean(axis=0), mixture, atol=0.02)


def test_random_camera_color_stays_in_its_ranges():
  """Red and blue gains relative to green, and the brightness, keep to the stated ranges; white never exceeds 1."""
  colors = jax.vmap(color.random_camera_color)(jax.random.split(jax.random.key(0), 500))
  red, green, blue = colors.white_balance.T
  assert 1.9 <= (red / green).min() and (red / green).max() <= 2.4 + 1e-5
  assert 1.5 <= (blue / green).min() and (blue / green).max() <= 1.9 + 1e-5
  brightness = 1 / green
  assert 0.6 - 1e-6 <= brightness.min() and brightness.max() <= 1 + 1e-6
  assert abs(brightness.mean() - 0.8) < 0.02 and 0.07 < brightness.std() < 0.1
  white = jax.vmap(lambda camera: color.linear_srgb_to_camera_rgb(jnp.ones(3), camera))(colors)
  assert white.max() <= 1 + 1e-5


def test_release_cameras_keep_colors_in_range():
  """Colors in [0, 1] stay in [0, 1] in a release camera's RGB."""
  corners = jnp.array(np.indices((2, 2, 2)).reshape(3, -1).T, jnp.float32)
  for seed in range(4):
    camera = color.linear_srgb_to_camera_rgb(corners, color.random_camera_color(jax.random.key(seed)))
    assert camera.min() > -1e-6 and camera.max() < 1 + 1e-5


def test_wrong_channel_count_is_named():
  """A color array without three channels raises ValueError that shows its shape."""
  with pytest.raises(ValueError, match=r"\[\.\.\., 3\], got shape \(4, 4\)"):
    color.apply_white_balance(jnp.zeros((4, 4)), jnp.ones(3))


def test_what_is_white_in_a_photo_saturates_in_raw(x64):
  """Inverse gains would make white a grey of .4 to .9 by channel, which no camera measures; blown-out colors stay."""
  camera = color.random_camera_color(jax.random.key(2))
  white = jnp.ones(3)
  np.testing.assert_allclose(color.linear_srgb_to_saturating_camera_rgb(white, camera), 1, atol=1e-6)
  assert np.all(color.linear_srgb_to_camera_rgb(white, camera) < 0.95)


def test_below_the_highlights_gains_are_undone_exactly():
  """Up to a mean of 0.9 the round trip is exact; above, values rise up to white without a jump and never fall."""
  camera = color.CameraColor(white_balance=jnp.array([2.0, 1.1, 1.7]), ccm=jnp.eye(3))
  grey = jnp.linspace(0, 1, 1001)[:, None] * jnp.ones(3)
  found, plain = (convert(grey, camera) for convert in (
      color.linear_srgb_to_saturating_camera_rgb, color.linear_srgb_to_camera_rgb))
  np.testing.assert_array_equal(found[:900], plain[:900])
  steps = np.diff(found, axis=0)
  assert np.all(steps > 0) and np.max(steps) < 0.02 and np.all(found >= plain - 1e-7)


def test_colors_of_the_authors_code_are_two_cameras_and_not_cut():
  """A and B only; a brightness beyond two standard deviations occurs."""
  draw = functools.partial(color.random_camera_color, brightness_cut_std=math.inf,
                           draw_ccm=functools.partial(color.random_release_ccm, count=2))
  drawn = jax.vmap(draw)(jax.random.split(jax.random.key(0), 2000))
  ccms = np.unique(np.asarray(drawn.ccm), axis=0)
  assert len(ccms) == 2
  for ccm in ccms:
    assert min(np.abs(ccm - known).max() for known in color.release_ccms()[:2]) < 1e-6
  brightness = 1 / np.asarray(drawn.white_balance[:, 1])
  assert np.abs(brightness - 0.8).max() > 0.25 and brightness.std() == pytest.approx(0.1, rel=0.1)


def test_an_unprocessing_is_told_apart_in_the_same_way_in_every_process():
  """By names and values, not by where a function lies in memory."""
  one = color.Unprocessing(functools.partial(color.random_camera_color, draw_ccm=color.random_ccm))
  assert one.description == [["random_camera_color", {"draw_ccm": "random_ccm"}], True]
  assert color.Unprocessing().description != one.description != color.Unprocessing(one.draw_color, False).description
