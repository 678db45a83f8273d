"""Every stage from previews to the restored image is timed, as often as asked, told, and written."""

import json

import pytest

import debir_jax
from debir_jax.camera.latency import latencies, main, table


def test_stages_are_timed():
  """All of them, and told in a table."""
  seconds = latencies(debir_jax.load(), 32, 2, burst=True)
  assert all(values.shape == (2,) and (values > 0).all() for values in seconds.values())
  assert all(f"| {stage} |" in table(seconds) for stage in ("motion and BAENet", "from previews to plan", "restoring"))


def test_the_command_writes_what_it_tells(tmp_path, capsys):
  """The table, and the same numbers as JSON."""
  main(["--size", "32", "--count", "2", "--to", str(tmp_path / "out")])
  assert (tmp_path / "out" / "table.md").read_text() == capsys.readouterr().out
  found = json.loads((tmp_path / "out" / "latency.json").read_text())
  assert found["size_px"] == 32 and found["stages"]["from previews to plan"]["median_ms"] > 0
  with pytest.raises(SystemExit, match="--size=8"):
    main(["--size", "8"])
