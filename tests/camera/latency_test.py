"""Every stage of metering is timed, as often as asked."""

import pytest

import debir_jax
from debir_jax.camera.latency import latencies, main, table


def test_stages_are_timed(capsys):
  """All of them, and told with the device."""
  seconds = latencies(debir_jax.load(), 32, 2)
  assert all(values.shape == (2,) and (values > 0).all() for values in seconds.values())
  assert "| motion and BAENet |" in table(seconds)
  with pytest.raises(SystemExit, match="--size=8"):
    main(["--size", "8"])
  main(["--size", "32", "--count", "1"])
  assert "The paper: 23 ms" in capsys.readouterr().out
