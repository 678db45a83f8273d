"""Every stage of metering is timed, as often as asked."""

import pytest

import debir_jax
from debir_jax.camera.latency import latencies, main, table


def test_stages_are_timed():
  """All of them, and told in a table."""
  seconds = latencies(debir_jax.load(), 32, 2)
  assert all(values.shape == (2,) and (values > 0).all() for values in seconds.values())
  assert "| motion and BAENet |" in table(seconds)
  with pytest.raises(SystemExit, match="--size=8"):
    main(["--size", "8"])
