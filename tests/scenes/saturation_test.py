"""Laws of highlights beyond white."""

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.scenes.saturation import with_saturation
from debir_jax.simulator import integrate_windows, target_of
from debir_jax.types import BurstTiming, CameraColor, Scene

_TIMING = BurstTiming.paper()


def _scene(radiance):
  return Scene(radiance=radiance, color=CameraColor.neutral(), scene_id=jnp.int32(0))


def _light(num_subframes=230):
  """A white dot that moves by a pixel every 8 subframes over grey."""
  columns, time = jnp.arange(16), jnp.arange(num_subframes)[:, None]
  row = jnp.where(columns == time // 8 % 16, 1.0, 0.3)
  return jnp.broadcast_to(row[:, None, :, None], (num_subframes, 4, 16, 4))


def test_a_blurred_frame_is_the_mean_and_alpha_times_the_mean_mask():
  """As the release adds it, before cutting at white; one alpha for a scene, within (0.25, 1.75)."""
  plain, changed = _light(), with_saturation(jax.random.key(0), _scene(_light())).radiance
  alpha = float(changed.max()) - 1
  assert 0.25 < alpha < 1.75
  start, end = jnp.array([100.5]) / 1920, jnp.array([141.25]) / 1920
  mean, with_streaks, mask = (integrate_windows(entries, start, end, _TIMING)
                              for entries in (plain, changed, (plain >= 1).astype(jnp.float32)))
  np.testing.assert_allclose(with_streaks, mean + alpha * mask, atol=1e-5)


def test_what_is_not_white_and_what_is_restored_stay_as_they_are():
  """The target is cut at white; scenes draw alphas of their own."""
  changed = [with_saturation(jax.random.key(k), _scene(_light())).radiance for k in range(2)]
  np.testing.assert_array_equal(jnp.where(_light() < 1, changed[0], 0), jnp.where(_light() < 1, _light(), 0))
  np.testing.assert_array_equal(jnp.minimum(target_of(changed[0], _TIMING), 1), target_of(_light(), _TIMING))
  assert abs(float(changed[0].max() - changed[1].max())) > 1e-3
