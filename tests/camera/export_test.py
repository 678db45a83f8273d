"""Metering as a file is the package's metering: the same times, without loops, also by TensorFlow Lite."""

import os
import subprocess

import jax
import numpy as np
import pytest

import debir_jax
from debir_jax.camera import export
from debir_jax.camera.export import metering_function, metering_shapes, stablehlo_text, tflite_bytes
from debir_jax.camera.to_onnx import by_primitives
from experiments.camera.export import measure, random_previews

# Python of an environment with litert-converter and ai-edge-litert, and of one with jax2onnx and onnxruntime; the tests
# that need them skip without.
_CONVERTER, _ONNX_CONVERTER = os.environ.get("DEBIR_LITERT_PYTHON"), os.environ.get("DEBIR_ONNX_PYTHON")


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


@pytest.mark.skipif(not _ONNX_CONVERTER, reason="DEBIR_ONNX_PYTHON names no environment with jax2onnx")
def test_onnx_gives_the_same_times():
  """On random previews, to a thousandth."""
  assert measure(32, 10, _ONNX_CONVERTER, form="onnx")["max_relative"] < 1e-3


def test_by_primitives_the_function_is_the_same(model):
  """What goes into ONNX: no calls, nothing unused such as keys, products of two matrices in the usual order."""
  shapes = list(metering_shapes(32).values())
  function = by_primitives(metering_function(model), shapes)
  (previews,), (gain,) = random_previews(32, 1, seed=2)
  arguments = previews, np.float32([gain]), np.ones(3, np.float32), np.eye(3, dtype=np.float32)
  np.testing.assert_allclose(jax.jit(function)(*arguments), jax.jit(metering_function(model))(*arguments), rtol=1e-5)
  equations = jax.make_jaxpr(function)(*shapes).eqns
  assert not {"jit", "custom_vjp_call", "custom_jvp_call", "random_seed", "platform_index"} & {
      equation.primitive.name for equation in equations}
  for equation in equations:
    if equation.primitive.name == "dot_general":
      assert equation.params["dimension_numbers"] == (((1,), (0,)), ((), ()))


def test_what_cannot_be_exported_is_said(model, tmp_path, monkeypatch):
  """No BAENet, no such size or ending, no converter, one that fails; nothing is written."""
  import dataclasses
  with pytest.raises(ValueError, match="no BAENet"):
    metering_function(dataclasses.replace(model, policy=None))
  with pytest.raises(ValueError, match="--size=100"):
    stablehlo_text(model, 100)
  with pytest.raises(SystemExit, match="must end with"):
    export.main(["--out", str(tmp_path / "a.onnxx")])
  with pytest.raises(SystemExit, match="--converter"):
    export.main(["--out", str(tmp_path / "a.onnx"), "--size=32"])
  with pytest.raises(ValueError, match="--converter"):
    tflite_bytes("", None)
  monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", "no such module"))
  with pytest.raises(ValueError, match="no such module"):
    tflite_bytes("", "python")
  assert not list(tmp_path.iterdir())
