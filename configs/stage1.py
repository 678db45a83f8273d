"""Stage 1: pre-training of the restoration network on bursts with exposure times drawn at random (Eq. 11).

python -m debir_jax.main --config=configs/stage1.py --workdir=runs/paper

The paper: 500 epochs on four RTX 3090.
"""

from configs import default


def get_config(mode: str = ""):
  """See `default.py`."""
  config = default.get_config(mode)
  config.stages = ("stage1",)
  return config
