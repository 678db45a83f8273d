"""Pyramidal Lucas–Kanade: known motions of real photos, laws of its pieces, and what must never break."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data

from debir_jax.motion import LucasKanade, lucas_kanade, mean_flow_magnitude

PHOTOS = ("astronaut", "coffee", "chelsea")
_TRANSLATION, _ROTATION = np.zeros((2, 2)), np.array([[0.3, -1.0], [1.0, 0.3]])  # the latter zooms by 30 % of it too


def _moved_photo(name, size, motion, mean_px, angle):
  """Crops `[size, size, 3]` of a photo before and after a motion of the given mean length, and its flow."""
  photo = getattr(skimage.data, name)()[..., :3].astype(np.float32) / 255
  scale = 2.5 * size / min(photo.shape[:2])
  photo = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
  center = np.array(photo.shape[1::-1]) / 2
  position = np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=-1) - (size - 1) / 2
  shift = np.array([np.cos(angle), np.sin(angle)]) * (1 if motion is _TRANSLATION else size / 6)
  flow = position @ motion.T + shift
  scale = mean_px / np.hypot(*np.moveaxis(flow, -1, 0)).mean()
  source = (position - scale * shift) @ np.linalg.inv(np.eye(2) + scale * motion).T
  read = lambda at: cv2.remap(photo, *np.moveaxis(at + center, -1, 0).astype(np.float32), cv2.INTER_CUBIC)
  return read(position), read(source), scale * flow


def _errors(size, motion, mean_px, noise):
  """Relative error of the mean flow length and mean end-point error in px, for each photo."""
  rng = np.random.default_rng(0)
  before, after, flow = map(np.stack, zip(*(_moved_photo(name, size, motion, mean_px, 1 + i)
                                             for i, name in enumerate(PHOTOS))))
  before, after = (np.clip(x + noise * rng.standard_normal(x.shape), 0, 1).astype(np.float32) for x in (before, after))
  estimate = np.asarray(_estimate(before, after))
  length = lambda x: np.hypot(x[..., 0], x[..., 1]).mean(axis=(1, 2))
  return np.abs(length(estimate) / length(flow) - 1), length(estimate - flow)


@jax.jit
def _estimate(before, after):
  return jax.vmap(lambda x, y: LucasKanade().apply({}, x, y))(before, after)


# Twice what was measured for translations; rotations are harder, as the window assumes one shift for all it covers.
@pytest.mark.parametrize("motion,size,mean_px,noise,error_bound,end_point_bound", (
    (_TRANSLATION, 128, 1.0, 0.0, 0.03, 0.15), (_TRANSLATION, 128, 5.0, 0.0, 0.03, 0.4),
    (_TRANSLATION, 128, 10.0, 0.0, 0.03, 0.8), (_TRANSLATION, 128, 5.0, 0.15, 0.03, 0.9),
    (_ROTATION, 128, 5.0, 0.0, 0.08, 0.8), (_ROTATION, 128, 5.0, 0.15, 0.10, 1.2),
    (_TRANSLATION, 32, 0.5, 0.0, 0.06, 0.12), (_TRANSLATION, 32, 2.0, 0.0, 0.08, 0.4),
    (_TRANSLATION, 32, 2.0, 0.05, 0.08, 0.5), (_ROTATION, 32, 2.0, 0.05, 0.18, 1.0)))
def test_known_motion_is_measured(motion, size, mean_px, noise, error_bound, end_point_bound):
  """Mean flow length (relative) and end-point error (px), averaged over photos, stay within bounds."""
  error, end_point_px = _errors(size, motion, mean_px, noise)
  assert error.mean() <= error_bound, error
  assert end_point_px.mean() <= end_point_bound, end_point_px


def test_flow_points_from_the_first_image_to_the_second():
  """Content that moves right by 2 and down by 1 px has the flow (x, y) = (2, 1)."""
  photo = cv2.GaussianBlur(skimage.data.astronaut()[:136, 180:316].astype(np.float32) / 255, None, 2)
  flow = np.asarray(_estimate(photo[None, 4:132, 4:132], photo[None, 3:131, 2:130]))[0]
  np.testing.assert_allclose(flow.mean(axis=(0, 1)), [2, 1], atol=0.05)


def test_swapped_axes_swap_the_flow(x64):
  """Transposed images have the transposed flow with x and y exchanged, at sizes that are odd and not square."""
  before, after = np.random.default_rng(0).uniform(size=(2, 21, 34, 3))
  apply = jax.jit(LucasKanade().apply)
  flow, transposed = apply({}, before, after), apply({}, before.swapaxes(0, 1), after.swapaxes(0, 1))
  np.testing.assert_allclose(transposed, np.asarray(flow).swapaxes(0, 1)[..., ::-1], atol=1e-9)


def test_equal_images_have_no_flow():
  """The flow of an image to itself is exactly 0, noise or not."""
  image = jax.random.uniform(jax.random.key(0), (1, 32, 32, 3))
  assert np.all(np.asarray(_estimate(image, image)) == 0)


def test_flat_images_have_finite_values_and_gradients():
  """Nothing to match: no flow, and no NaN in the gradient (the 2x2 system is singular but for the damping)."""
  mean_flow = lambda x, y: mean_flow_magnitude(LucasKanade().apply({}, x, y))
  gray, brighter = jnp.full((16, 16, 3), 0.5), jnp.full((16, 16, 3), 0.6)
  value, gradient = jax.jit(jax.value_and_grad(mean_flow))(gray, brighter)
  assert value < 1e-3 and np.all(np.isfinite(gradient))


def test_gradient_to_the_motion_equals_finite_differences(x64):
  """d (mean flow) / d (shift), through the images, agrees with central differences, and is about 1."""
  x, y = jnp.meshgrid(jnp.arange(16.0), jnp.arange(16.0))

  def mean_flow(shift):
    image = lambda x: jnp.stack([jnp.sin(x / 2.3) + jnp.cos(y / 3.1 + x / 7)] * 3, axis=-1) / 4 + 0.5
    return mean_flow_magnitude(LucasKanade().apply({}, image(x), image(x - shift)))

  value_and_grad, step = jax.jit(jax.value_and_grad(mean_flow)), 1e-5
  _, gradient = value_and_grad(0.83)
  numeric = (value_and_grad(0.83 + step)[0] - value_and_grad(0.83 - step)[0]) / (2 * step)
  np.testing.assert_allclose(gradient, numeric, rtol=1e-5)
  np.testing.assert_allclose(gradient, 1, atol=0.3)


def test_plain_and_vmapped_agree():
  """One definition, called alone or under jit and vmap."""
  images = jax.random.uniform(jax.random.key(1), (2, 1, 16, 16, 3))
  plain = LucasKanade().apply({}, *images[:, 0])[None]
  np.testing.assert_allclose(_estimate(*images), plain, atol=1e-4)


def test_one_step_solves_the_least_squares_of_its_window(x64):
  """Where nothing is damped, cut or limited, a step is numpy's weighted least-squares solution at that pixel."""
  rng = np.random.default_rng(0)
  gradient, error = rng.standard_normal((17, 17, 2)), 0.1 * rng.standard_normal((17, 17))
  inside = rng.uniform(size=(17, 17)) > 0.2
  step = lucas_kanade._least_squares_step(gradient, jnp.asarray(error), jnp.asarray(inside), 2.0, 0.0)
  offset = np.arange(17) - 8
  gaussian = np.exp(-(offset**2) / 8) * (abs(offset) <= 6)
  weight = gaussian[:, None] * gaussian * inside
  root = np.sqrt(weight).ravel()
  expected = np.linalg.lstsq(root[:, None] * gradient.reshape(-1, 2), root * error.ravel(), rcond=None)[0]
  np.testing.assert_allclose(step[8, 8], expected, rtol=1e-9)


def test_steps_are_at_most_one_pixel(x64):
  """A step that the local linear model asks to be longer is shortened, its direction kept."""
  vectors = jnp.array([[3.0, 4.0], [0.3, -0.4], [0.0, 0.0]])
  np.testing.assert_allclose(lucas_kanade._limit_length(vectors, 1.0), [[0.6, 0.8], [0.3, -0.4], [0, 0]], rtol=1e-12)


@pytest.mark.parametrize("shape", ((32, 32), (45, 31)))
def test_pyramid_levels_share_one_coordinate_frame(x64, shape):
  """A linear ramp, halved, still reads the position of each pixel's centre: halving shifts nothing."""
  ramp = jnp.broadcast_to(jnp.arange(shape[1]) + 0.5, shape)
  half = lucas_kanade.pyramid(ramp, 2)[1]
  scale = shape[1] / half.shape[1]
  np.testing.assert_allclose(half[0, 3:-3], (np.arange(half.shape[1])[3:-3] + 0.5) * scale, atol=0.02)


def test_small_images_take_fewer_levels():
  """5 levels at 128 and above, 3 at 32, 2 at 16, 1 below: the coarsest keeps at least 8 px a side."""
  num_levels = [len(lucas_kanade.pyramid(jnp.zeros((side, 2 * side)), 5)) for side in (256, 128, 32, 16, 8)]
  assert num_levels == [5, 5, 3, 2, 1]


def test_products_keep_their_precision_on_accelerators():
  """Where factors are rounded unless told otherwise, by more than the noise."""
  images = jnp.zeros((32, 32, 3))
  program = str(jax.make_jaxpr(lambda *images: LucasKanade().apply({}, *images))(images, images))
  assert program.count("dot_general[") == program.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") > 0


def test_it_is_hashable_so_that_it_can_be_static():
  """Equal settings are equal and hash alike; another setting differs."""
  assert hash(LucasKanade()) == hash(LucasKanade()) and LucasKanade() == LucasKanade()
  assert LucasKanade(damping=1e-3) != LucasKanade()


@pytest.mark.parametrize("shape1,shape2,message", (
    ((8, 8, 3), (8, 9, 3), r"\(8, 8, 3\) and \(8, 9, 3\)"), ((8, 8, 4), (8, 8, 4), "sRGB"),
    ((2, 8, 8, 3), (2, 8, 8, 3), "use jax.vmap"), ((3, 8, 3), (3, 8, 3), "use a larger crop")))
def test_wrong_images_are_refused(shape1, shape2, message):
  """Unequal shapes, a wrong number of channels, a batch and a too small image name what was seen and what to do."""
  with pytest.raises(ValueError, match=message):
    LucasKanade().apply({}, jnp.zeros(shape1), jnp.zeros(shape2))
