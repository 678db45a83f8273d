"""Whether the recipe that `configs/sweeps/stage2.py` found holds: other seeds, other noise, and scenes it has not seen.

python -m debir_jax.sweep --config=configs/sweeps/stage2_seeds.py --config.init_from=runs/quickstart \
    --workdir=runs/sweep_seeds

The scenes that the recipe was chosen on are a third of those that it is measured on here.
"""

from configs.sweeps import stage2


def get_config(mode: str = ""):
  """As in `stage2.py`, measured on more scenes."""
  config = stage2.get_config(mode)
  config.evaluation.seed = 2
  if not mode:
    config.data.num_validation_scenes = 144
  return config


def sweep():
  """Three seeds of the paper's recipe, of the same with larger steps, and of ours."""
  found = stage2.sweep()
  recipes = {"paper": "paper", "paper, as far": "paper, as far as in all its steps", "ours": "rate 0.001, clipped to 1"}
  return {f"{name}, seed {seed}": found[trial] | {"seed": seed} for seed in (1, 2, 3)
          for name, trial in recipes.items()}
