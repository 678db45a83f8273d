"""All stages of the paper, one after the other.

python -m debir_jax.main --config=configs/all_stages.py --workdir=runs/paper
"""

from configs import default


def get_config(mode: str = ""):
  """See `default.py`."""
  return default.get_config(mode)
