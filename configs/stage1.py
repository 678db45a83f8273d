"""Stage 1: pre-training of the restoration network on bursts with exposure times drawn at random (Eq. 11).

python -m debir_jax.main --config=configs/stage1.py --workdir=runs/paper

on the paper's data sets, prepared as docs/data.md says, or on photos in motion:
--config.data.source=photos+dead_leaves --config.data.photos=FOLDER

The paper: 500 epochs on four RTX 3090.
"""

from configs import default


def get_config(mode: str = ""):
  """See `default.py`."""
  config = default.on_paper_data(default.get_config(mode), mode)
  config.stages = ("stage1",)
  return config
