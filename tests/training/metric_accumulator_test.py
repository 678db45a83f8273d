"""What the log says of the steps since its last line."""

import jax.numpy as jnp
import numpy as np

from debir_jax.training.metric_accumulator import MetricAccumulator


def _outputs(norm, *, applied=1.0, loss=0.1):
  return dict(loss=jnp.float32(loss), grad_norm=jnp.float32(norm), usual_grad_norm=jnp.float32(1.0),
              applied=jnp.float32(applied), scenes={}, exposure_times=jnp.full((2, 4), 8 / 1920))


def test_quantiles_of_gradient_norms_tell_spikes_that_a_mean_hides():
  accumulator = MetricAccumulator()
  for norm in [0.1] * 19 + [4.0]:
    accumulator.add(_outputs(norm))
  scalars, times = accumulator.read()
  np.testing.assert_allclose(scalars["grad_norm"], (19 * 0.1 + 4.0) / 20, rtol=1e-5)
  np.testing.assert_allclose([scalars[f"grad_norm_{name}"] for name in ("median", "p90", "max")], [0.1, 0.1, 4.0],
                             rtol=1e-5)
  assert times.shape == (40, 4)


def test_steps_that_were_not_applied_count_for_nothing_but_their_share():
  accumulator = MetricAccumulator()
  accumulator.add(_outputs(0.2, loss=1.0))
  accumulator.add(_outputs(float("nan"), loss=float("nan"), applied=0.0))
  scalars, _ = accumulator.read()
  np.testing.assert_allclose([scalars[name] for name in ("loss", "grad_norm_max", "applied")], [1.0, 0.2, 0.5],
                             rtol=1e-6)


def test_a_reading_starts_anew():
  accumulator = MetricAccumulator()
  accumulator.add(_outputs(9.0))
  accumulator.read()
  accumulator.add(_outputs(0.3))
  scalars, _ = accumulator.read()
  np.testing.assert_allclose(scalars["grad_norm_max"], 0.3, rtol=1e-6)


def test_where_no_step_was_applied_there_are_no_quantiles():
  accumulator = MetricAccumulator()
  accumulator.add(_outputs(1.0, applied=0.0))
  scalars, _ = accumulator.read()
  assert "grad_norm_max" not in scalars
