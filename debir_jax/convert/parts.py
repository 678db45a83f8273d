"""Which weights of a checkpoint belong to which network: Burstormer, BAENet, RAFT, LPIPS or RIFE; and what they are
called there, without what training put in front of their names.
"""

from collections.abc import Iterable, Mapping, Sequence
import re

import numpy as np

from debir_jax.convert.state_dict import listed

# The first that fits decides; what it matches is cut off for RAFT, as its importer knows the plain names only.
_PARTS = (
    ("raft", re.compile(r"(?:(?:bae|pred)net\.)?raft\.")),
    ("raft", re.compile(
        r"(?=(?:fnet|cnet|update_block|feature_encoder|context_encoder|mask_predictor)\.)")),
    ("baenet", re.compile(r"(?=(?:(?:bae|pred)net\.)?(?:mobilenet\.)?(?:features|classifier)\.)")),
    ("lpips", re.compile(r"(?=(?:net\.slice\d|lin\d|lins\.\d|scaling_layer)\.|(?:AlexNet|VGG16|NetLinLayer)_\d/)")),
    ("rife", re.compile(r"(?=(?:block\d|encode|teacher|caltime)\.)")),
    ("restorer", re.compile(r"(?=(?:conv1|align|back_projection[12]|rec_conv[12]|up[123]|out_conv)\.)")),
)
# Names in names: of `DataParallel` and averaged models, and of `torch.compile`. No network has parts of these names.
_WRAPPERS = re.compile(r"(?<![^.])(?:module|_orig_mod)\.")
_OWNERS = ("model.", "net.", "network.", "ema.")  # How modules that train a network, such as Lightning's, call it.
_COUNTERS = ("n_averaged",)  # Beside the weights of an averaged model.


def plain_names(names: Iterable[str]) -> dict[str, str]:
  """By each name of a state dict, the one that the network itself gives.

  "module." and "_orig_mod." are left out wherever they are; "model.", "net.", "network." and "ema." in front of a name
  that would belong to no network otherwise; and any other first part of all names, if all of them belong to a network
  without it. Names that belong to no network either way keep what is in front.
  """
  plain = {name: _without_owner(_WRAPPERS.sub("", name)) for name in names if name not in _COUNTERS}
  first_parts = {name.partition(".")[0] for name in plain.values()}
  inner = {name: _without_owner(inner.partition(".")[2]) for name, inner in plain.items()}
  if len(first_parts) == 1 and not any(map(_part_of, plain.values())) and all(map(_part_of, inner.values())):
    return inner
  return plain


def with_plain_names(state_dict: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The state dict under its `plain_names`.

  Raises:
    ValueError: two arrays get one name and differ.
  """
  arrays, given = {}, {}
  for name, plain in plain_names(state_dict).items():
    if plain in arrays and not np.array_equal(arrays[plain], state_dict[name]):
      before = name.removesuffix(plain) or given[plain].removesuffix(plain)
      raise ValueError(f"{given[plain]} and {name} are one array of the network, but differ. Leave out one of the two "
                       f"networks, with --ignore {before} for example.")
    arrays[plain], given[plain] = state_dict[name], name
  return arrays


def split_parts(state_dict: Mapping[str, np.ndarray], *,
                ignored: Sequence[str] = ()) -> dict[str, dict[str, np.ndarray]]:
  """State dicts of "restorer", "baenet", "raft", "lpips" and "rife", those that are there.

  Args:
    state_dict: names as in checkpoints of the authors' release (BAENet under "baenet." or "prednet.", its RAFT under
      "raft." therein), or of one of the networks alone; see `plain_names` for what may be in front.
    ignored: names that begin with one of these, in the file or plain, are left out.

  Raises:
    ValueError: listing by name what belongs to none of them; or two networks of one kind that differ.
  """
  ignored = tuple(ignored)
  kept = [name for name in state_dict if not name.startswith(ignored)]
  kept = {name: state_dict[name] for name, plain in plain_names(kept).items() if not plain.startswith(ignored)}
  unknown = [name for name, plain in plain_names(kept).items() if _part_of(plain) is None]
  if unknown:
    raise ValueError(f"These weights belong to none of the networks: {listed(unknown)}. Those of a loss, an optimizer "
                     "and the like can be left out, see --ignore.")
  parts: dict[str, dict[str, np.ndarray]] = {}
  for name, array in with_plain_names(kept).items():
    part, match = _part_of(name)
    parts.setdefault(part, {})[name[match.end():]] = array
  return parts


def _part_of(name: str) -> tuple[str, re.Match] | None:
  """The network that a plain name belongs to, and what of it the importer does not know."""
  return next(((part, match) for part, pattern in _PARTS if (match := pattern.match(name))), None)


def _without_owner(name: str) -> str:
  """A plain name of what an owner's name may be in front of; the name as it is where none would be plain."""
  inner = name
  while _part_of(inner) is None and inner.startswith(_OWNERS):
    inner = inner.partition(".")[2]
  return name if _part_of(inner) is None else inner
