"""Metering as a file is the package's metering: the same times, without loops, also by TensorFlow Lite."""

import os
import subprocess

import jax
import numpy as np
import pytest

import debir_jax
from debir_jax.camera import export
from debir_jax.camera.export import metering_function, stablehlo_text, tflite_bytes
from experiments.camera.export import measure, random_previews

# Python of an environment with litert-converter and ai-edge-litert; the test that needs it skips without.
_CONVERTER = os.environ.get("DEBIR_LITERT_PYTHON")


@pytest.fixture(scope="module")
def model():
  return debir_jax.load()


def test_the_function_gives_the_front_doors_times(model):
  """To a thousandth; unrolled loops compute the same."""
  previews, gains = random_previews(32, 2, seed=1)
  function = jax.jit(metering_function(model))
  for pair, gain in zip(previews, gains):
    times = function(pair, np.float32([gain]), np.ones(3, np.float32), np.eye(3, dtype=np.float32))
    np.testing.assert_allclose(times, model.exposure_times(pair, gain), rtol=1e-3)


def test_the_text_holds_no_loops(model):
  """TensorFlow Lite has none to turn them into."""
  text = stablehlo_text(model, 32)
  assert "stablehlo.while" not in text and "tensor<2x32x32x4xf32>" in text


@pytest.mark.skipif(not _CONVERTER, reason="DEBIR_LITERT_PYTHON names no environment with litert-converter")
def test_tensorflow_lite_gives_the_same_times():
  """On random previews, to a thousandth."""
  assert measure(64, 10, _CONVERTER)["max_relative"] < 1e-3


def test_what_cannot_be_exported_is_said(model, tmp_path, monkeypatch):
  """No BAENet, no such size or ending, no converter, one that fails; nothing is written."""
  import dataclasses
  with pytest.raises(ValueError, match="no BAENet"):
    metering_function(dataclasses.replace(model, policy=None))
  with pytest.raises(ValueError, match="--size=100"):
    stablehlo_text(model, 100)
  with pytest.raises(SystemExit, match="must end with"):
    export.main(["--out", str(tmp_path / "a.onnx")])
  with pytest.raises(ValueError, match="--converter"):
    tflite_bytes("", None)
  monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", "no such module"))
  with pytest.raises(ValueError, match="no such module"):
    tflite_bytes("", "python")
  assert not list(tmp_path.iterdir())
