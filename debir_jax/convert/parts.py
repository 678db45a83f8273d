"""Which weights of a checkpoint belong to which network: Burstormer, BAENet, RAFT or LPIPS."""

from collections.abc import Mapping, Sequence
import re

import numpy as np

from debir_jax.convert.state_dict import listed

# The first that fits decides; what it matches is cut off for RAFT, as its importer knows the plain names only.
_PARTS = (
    ("raft", re.compile(r"(?:(?:bae|pred)net\.)?raft\.")),
    ("raft", re.compile(
        r"(?=(?:module\.)?(?:fnet|cnet|update_block|feature_encoder|context_encoder|mask_predictor)\.)")),
    ("baenet", re.compile(r"(?=(?:(?:bae|pred)net\.)?(?:mobilenet\.)?(?:features|classifier)\.)")),
    ("lpips", re.compile(r"(?=(?:net\.slice\d|lin\d|lins\.\d|scaling_layer)\.)")),
    ("restorer", re.compile(r"(?=(?:conv1|align|back_projection[12]|rec_conv[12]|out_conv)\.)")),
)


def split_parts(state_dict: Mapping[str, np.ndarray], *,
                ignored: Sequence[str] = ()) -> dict[str, dict[str, np.ndarray]]:
  """State dicts of "restorer", "baenet", "raft" and "lpips", those that are there.

  Args:
    state_dict: names as in checkpoints of the authors' release (BAENet under "baenet." or "prednet.", its RAFT under
      "raft." therein), or of one of the networks alone.
    ignored: names that begin with one of these are left out.

  Raises:
    ValueError: listing by name what belongs to none of them.
  """
  parts, unknown = {}, []
  for name, array in state_dict.items():
    if name.startswith(tuple(ignored)):
      continue
    part, start = next(((part, match.end()) for part, pattern in _PARTS if (match := pattern.match(name))), (None, 0))
    if part is None:
      unknown.append(name)
    else:
      parts.setdefault(part, {})[name[start:]] = array
  if unknown:
    raise ValueError(f"These weights belong to none of the networks: {listed(unknown)}.")
  return parts
