"""What the restorer gains from options that the published network has not, and what bfloat16 costs in training.

python -m debir_jax.sweep --config=configs/sweeps/stage1.py --method="uniform {24}" --workdir=runs/sweep_stage1

Stage 1 at the scale of the quickstart. Another seed shows how far trainings differ by chance.
"""

from configs import quickstart


def get_config(mode: str = ""):
  """Stage 1 of the quickstart, measured under fixed exposure times."""
  config = quickstart.get_config(mode)
  config.stages = ("stage1",)
  config.data.num_validation_scenes = config.data.num_test_scenes
  config.comparison.update(dict(enabled=True, split="validation", finetune=False, headroom_scenes=0))
  return config


def sweep():
  """Every option alone; the inputs also together."""
  inputs = ("noise_map", "validity", "relative_exposure")
  trials = {"as it is": {}, "another seed": {"seed": 1}, "bfloat16": {"compute.dtype": "bfloat16"}}
  trials |= {"all three inputs": {f"restorer_inputs.{name}": True for name in inputs},
             "global skip": {"restorer.global_skip": True}}
  return trials | {name.replace("_", " "): {f"restorer_inputs.{name}": True} for name in inputs}
