"""What kept results were made of, in a few letters: so that nothing is taken for what it is not."""

import hashlib
import json
from typing import Any

import jax
import numpy as np

_LENGTH = 16  # Hexadecimal digits, 64 bits: chance agreement is out of the question, wilful agreement is nobody's gain.


def fingerprint(*things: Any) -> str:
  """A short text that is the same for the same things only.

  Args:
    *things: trees of arrays, numbers, text and None; dictionaries in any order. Arrays count with type, shape and every
      bit of their content.
  """
  digest = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_flatten_with_path(things, is_leaf=lambda leaf: leaf is None)[0]:
    if isinstance(leaf, (jax.Array, np.ndarray, np.generic)):
      array = np.asarray(leaf)
      content = f"{array.dtype}{array.shape}".encode() + array.tobytes()
    else:
      content = json.dumps(leaf).encode()
    digest.update(b"%d:" % len(name := jax.tree_util.keystr(path).encode()) + name)
    digest.update(b"%d:" % len(content) + content)
  return digest.hexdigest()[:_LENGTH]
