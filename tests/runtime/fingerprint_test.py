"""A fingerprint is that of the content: all of it counts, and nothing else."""

import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.runtime.fingerprint import fingerprint

_TREE = dict(a=np.arange(6, dtype=np.float32).reshape(2, 3), b=dict(c=[1, 2.5, "x", None]))


def test_the_same_content_has_the_same_fingerprint():
  """In another order of names, on a device, at another time and in another process."""
  assert fingerprint(_TREE) == fingerprint(dict(b=_TREE["b"], a=jnp.asarray(_TREE["a"])))
  assert fingerprint("stays", 1) == fingerprint("stays", 1) and len(fingerprint()) == 16


@pytest.mark.parametrize("other", (
    _TREE | dict(a=_TREE["a"] + np.float32(1e-6)), _TREE | dict(a=_TREE["a"].reshape(3, 2)),
    _TREE | dict(a=_TREE["a"].astype(np.float64)), _TREE | dict(a2=1), _TREE | dict(b=dict(c=[1, 2.5, "x", 0])),
    _TREE | dict(b=dict(c=[1, 2.5, "xN", None])), dict(a=_TREE["a"])))
def test_anything_else_has_another_one(other):
  """A bit, a shape, a type, a name, a missing or another value."""
  assert fingerprint(other) != fingerprint(_TREE)


def test_borders_between_things_count():
  """Two texts are not their joint."""
  assert len({fingerprint("ab", "c"), fingerprint("a", "bc"), fingerprint("abc"), fingerprint(["ab", "c"])}) == 4
