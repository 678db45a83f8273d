"""Laws of the optimizer: cosine decay meets its ends, and a step is AdamW's step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from debir_jax.config.optimizers import adamw_direction, cosine_schedule, usual_grad_norm

_PARAMS = {"layer": {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([0.5])}}


def _descended(params, direction, rate):
  return jax.tree.map(lambda p, d: p - rate * d, params, direction)


def test_cosine_decay_starts_at_initial_ends_at_final_and_is_the_mean_in_the_middle():
  """(initial + final) / 2 lies at half the steps, and nothing changes after the end."""
  rate = cosine_schedule(3e-4, 1e-8, 1000)
  np.testing.assert_allclose(rate(0), 3e-4, rtol=1e-6)
  np.testing.assert_allclose(rate(500), (3e-4 + 1e-8) / 2, rtol=1e-5)
  np.testing.assert_allclose(rate(1000), 1e-8, rtol=1e-3)
  np.testing.assert_allclose(rate(5000), 1e-8, rtol=1e-3)


def test_rate_rises_linearly_first_where_asked():
  """The first steps take 1/rise, 2/rise, ... of the rate; without a rise the first step takes all of it."""
  flat = cosine_schedule(1.0, 1.0, 100, warmup_steps=4)
  np.testing.assert_allclose([flat(step) for step in range(6)], [0.25, 0.5, 0.75, 1, 1, 1], rtol=1e-6)
  np.testing.assert_allclose([cosine_schedule(1.0, 1.0, 9, warmup_steps=1)(step) for step in (0, 1)], 1, rtol=1e-6)


@pytest.mark.parametrize("numbers", [(0.0, 0.0, 10), (1e-3, 1e-4, 0), (-1.0, 0.0, 10), (1e-3, 1e-4, 10, -1)])
def test_schedules_that_cannot_be_are_refused(numbers):
  with pytest.raises(ValueError, match="positive learning_rate and num_steps"):
    cosine_schedule(*numbers)


@pytest.mark.parametrize("decay_all", [False, True])
def test_directions_times_rate_equal_optax_adamw(decay_all):
  """Clipping, Adam and decoupled decay give the parameters of optax's AdamW, over several steps."""
  mask = None if decay_all else {"layer": {"kernel": True, "bias": False}}
  reference = optax.chain(optax.clip_by_global_norm(0.1), optax.adamw(1e-2, weight_decay=0.3, mask=mask))
  ours = adamw_direction(clip_norm=0.1, weight_decay=0.3, decay_all=decay_all)
  params, expected = _PARAMS, _PARAMS
  opt_state, expected_moments = ours.init(params), reference.init(expected)
  for step in range(4):
    gradient = jax.tree.map(lambda p, s=step: jnp.cos(p * (s + 1)), _PARAMS)
    direction, opt_state = ours.update(gradient, opt_state, params)
    params = _descended(params, direction, 1e-2)
    updates, expected_moments = reference.update(gradient, expected_moments, expected)
    expected = optax.apply_updates(expected, updates)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), params, expected)


def test_offsets_of_deformable_convolutions_move_at_their_own_rate():
  """Everything else as without it."""
  params = {"align": {"offset_conv": {"kernel": jnp.ones((2, 2))}, "bottleneck": {"kernel": jnp.ones((2, 2))}}}
  gradient = jax.tree.map(lambda p: 0.3 * p, params)
  usual, slow = [adamw_direction(clip_norm=None, weight_decay=0.1, offset_rate=rate) for rate in (1.0, 0.1)]
  expected, _ = usual.update(gradient, usual.init(params), params)
  direction, _ = slow.update(gradient, slow.init(params), params)
  np.testing.assert_allclose(direction["align"]["offset_conv"]["kernel"],
                             0.1 * expected["align"]["offset_conv"]["kernel"], rtol=1e-6)
  np.testing.assert_array_equal(direction["align"]["bottleneck"]["kernel"], expected["align"]["bottleneck"]["kernel"])
  with pytest.raises(ValueError, match="offset_rate=0"):
    adamw_direction(clip_norm=None, weight_decay=0.1, offset_rate=0.0)


def test_biases_do_not_decay_by_default():
  """With a gradient of zero only kernels shrink."""
  ours = adamw_direction(clip_norm=None, weight_decay=0.3)
  direction, _ = ours.update(jax.tree.map(jnp.zeros_like, _PARAMS), ours.init(_PARAMS), _PARAMS)
  moved = _descended(_PARAMS, direction, 0.1)
  assert np.all(np.abs(moved["layer"]["kernel"]) < np.abs(_PARAMS["layer"]["kernel"]))
  np.testing.assert_array_equal(moved["layer"]["bias"], _PARAMS["layer"]["bias"])


def test_the_usual_gradient_norm_is_the_mean_before_clipping():
  """Norms of 0 and 10 in turns are usually 5, whatever they are clipped to; unknown at first, and without AdamW."""
  optimizer = adamw_direction(clip_norm=0.01, weight_decay=0.0)
  unit = {"layer": {"kernel": jnp.array([[0.6, 0.0]]), "bias": jnp.array([0.8])}}

  def step(opt_state, norm):
    usual = usual_grad_norm(opt_state)
    _, opt_state = optimizer.update(jax.tree.map(lambda g: g * norm, unit), opt_state, _PARAMS)
    return opt_state, usual

  norms = jnp.tile(jnp.array([0.0, 10.0]), 200)
  opt_state, usual = jax.jit(lambda opt_state: jax.lax.scan(step, opt_state, norms))(optimizer.init(_PARAMS))
  np.testing.assert_array_equal(np.isinf(usual), np.arange(400) < 20)
  np.testing.assert_allclose(usual_grad_norm(opt_state), 5.0, rtol=0.01)
  assert np.isinf(usual_grad_norm(optax.identity().init(_PARAMS)))


def test_gradients_that_were_all_zero_say_nothing_about_what_is_usual():
  """A batch whose gradients cancel, as of an L1 loss of few numbers, does not make the next one an explosion."""
  optimizer = adamw_direction(clip_norm=None, weight_decay=0.0)
  opt_state, update = optimizer.init(_PARAMS), jax.jit(optimizer.update)
  for _ in range(30):
    _, opt_state = update(jax.tree.map(jnp.zeros_like, _PARAMS), opt_state, _PARAMS)
  assert np.isinf(usual_grad_norm(opt_state))
