"""All stages of the paper, one after the other.

python -m debir_jax.main --config=configs/all_stages.py --workdir=runs/paper

on the paper's data sets, as `stage1.py`.
"""

from configs import default


def get_config(mode: str = ""):
  """See `default.py`."""
  return default.on_paper_data(default.get_config(mode), mode)
