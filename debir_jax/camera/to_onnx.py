"""Metering as ONNX: `python to_onnx.py WEIGHTS SIZE TARGET.onnx`, where WEIGHTS is "" for those inside the package.

Runs in the environment of jax2onnx 0.17, which wants an older orbax than this package; the package itself is found on
PYTHONPATH. jax2onnx gives wrong graphs for what libraries call by name (BatchNorm, resizing) and for products of
matrices that are not in their usual order. So the function is traced without it, down to JAX's primitives, and each
product is put into that order.
"""

from collections.abc import Callable, Sequence
import math
import pathlib
import sys
from typing import Any

import jax
from jax import lax

_CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call")
_INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def by_primitives(function: Callable[..., jax.Array],
                  shapes: Sequence[jax.ShapeDtypeStruct]) -> Callable[..., jax.Array]:
  """The same function of arrays of these shapes, as its primitives one after the other: no calls, nothing unused, and
  products as `[m, k] x [k, n]`."""
  by_platform = lax.platform_dependent
  try:  # What any platform can run; a choice at run time has no place in a graph.
    lax.platform_dependent = lambda *arrays, default, **_: default(*arrays)
    closed = jax.make_jaxpr(function)(*shapes)
  finally:
    lax.platform_dependent = by_platform
  return lambda *arrays: _run(closed.jaxpr, closed.consts, arrays)[0]


def _run(jaxpr, constants, arrays) -> list[Any]:
  values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *arrays]))
  read = lambda atom: atom.val if hasattr(atom, "val") else values[atom]
  for equation in _needed(jaxpr):
    inputs = [read(atom) for atom in equation.invars]
    if equation.primitive.name in _CALLS:
      inner = next(equation.params[name] for name in _INNER if name in equation.params)
      outputs = _run(inner.jaxpr, inner.consts, inputs)
    elif equation.primitive.name == "dot_general":
      outputs = [_product(*inputs, equation.params["dimension_numbers"])]
    else:
      outputs = equation.primitive.bind(*inputs, **equation.params)
      outputs = outputs if equation.primitive.multiple_results else [outputs]
    values.update(zip(equation.outvars, outputs))
  return [read(atom) for atom in jaxpr.outvars]


def _needed(jaxpr) -> list[Any]:
  """Equations that a result depends on."""
  wanted, kept = {atom for atom in jaxpr.outvars if not hasattr(atom, "val")}, []
  for equation in reversed(jaxpr.eqns):
    if wanted & set(equation.outvars):
      wanted |= {atom for atom in equation.invars if not hasattr(atom, "val")}
      kept.append(equation)
  return kept[::-1]


def _product(left, right, dimension_numbers):
  """A `lax.dot_general` without batches."""
  (over_left, over_right), (batch, _) = dimension_numbers
  if batch:
    raise ValueError("A product of batches of matrices cannot be exported as ONNX yet.")
  rest_left, rest_right = ([axis for axis in range(array.ndim) if axis not in over]
                           for array, over in ((left, over_left), (right, over_right)))
  sides = [left.shape[axis] for axis in rest_left], [right.shape[axis] for axis in rest_right]
  inner = math.prod(left.shape[axis] for axis in over_left)
  left = lax.reshape(lax.transpose(left, (*rest_left, *over_left)), (math.prod(sides[0]), inner))
  right = lax.reshape(lax.transpose(right, (*over_right, *rest_right)), (inner, math.prod(sides[1])))
  return lax.reshape(lax.dot_general(left, right, (((1,), (0,)), ((), ()))), (*sides[0], *sides[1]))


def main(weights: str, size: int, target: pathlib.Path) -> None:
  """Writes the file."""
  import jax2onnx
  import onnx

  from debir_jax.camera.export import metering_function, metering_shapes
  from debir_jax.weights.model import load
  shapes = metering_shapes(size)
  graph = jax2onnx.to_onnx(by_primitives(metering_function(load(weights or None)), list(shapes.values())),
                           inputs=list(shapes.values()), input_names=list(shapes), output_names=["exposure_times"])
  onnx.checker.check_model(graph)
  target.write_bytes(graph.SerializeToString())


if __name__ == "__main__":
  main(sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3]))
