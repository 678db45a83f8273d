"""How BAENet learns best: learning rate, warm-up, clipping and noise draws of stage 2, at the scale of the quickstart.

python -m debir_jax.main --config=configs/quickstart.py --workdir=runs/quickstart --config.stages="('stage1',)" \
    --config.comparison.enabled=False
python -m debir_jax.sweep --config=configs/sweeps/stage2.py --config.init_from=runs/quickstart \
    --workdir=runs/sweep_stage2

Every trial starts from the restorer of stage 1 in `init_from` and takes as many steps as the others. The first one is
the paper's recipe (Adam, 1e-7 to 1e-8, gradients clipped to 0.01, 35 % of the steps for the warm-up). As it has only
a 28th of the paper's steps here, the second one moves as far as the paper's does in all of its steps.
"""

from configs import quickstart

_STEPS = dict(warmup=350, main=650)
_PAPER_STEPS = dict(warmup=9_861, main=18_314)


def get_config(mode: str = ""):
  """The quickstart's networks and scenes under the paper's recipe."""
  config = quickstart.get_config(mode)
  config.stages = ("stage2_warmup", "stage2")
  config.bae_optimizer.clip_norm = 0.01
  for stage, steps in (("stage2_warmup", _STEPS["warmup"]), ("stage2", _STEPS["main"])):
    config[stage].update(dict(num_steps=1 if mode else steps, learning_rate=1e-7, final_learning_rate=1e-8,
                              lr_warmup_steps=0))
  config.stage2_warmup.label_draws = 1
  config.data.num_validation_scenes = config.data.num_test_scenes
  config.comparison.update(dict(enabled=True, split="validation", finetune=False, headroom_scenes=0))
  return config


def sweep():
  """The paper's recipe; learning rates; and the other choices one by one, around a rate of 1e-3."""
  factor = _PAPER_STEPS["main"] / _STEPS["main"]
  trials = {"paper": {}, "paper, as far as in all its steps": _rates(1e-7 * factor)}
  trials |= {f"rate {rate:g}": _rates(rate) for rate in (1e-5, 1e-4, 3e-4, 1e-3, 3e-3)}
  others = {
      "no warm-up": {"stages": ("stage2",), "init_stage": "stage1"},
      "4 labels per scene": {"stage2_warmup.label_draws": 4},
      "rising over 50 steps": {"stage2_warmup.lr_warmup_steps": 50, "stage2.lr_warmup_steps": 50},
      "clipped to 1": {"bae_optimizer.clip_norm": 1.0},
      "not clipped": {"bae_optimizer.clip_norm": None},
      "4 noise draws": {"stage2.noise_draws": 4},
      "4 noise draws, a quarter of the main steps": {"stage2.noise_draws": 4, "stage2.num_steps": _STEPS["main"] // 4},
  }
  return trials | {f"rate 0.001, {name}": _rates(1e-3) | changes for name, changes in others.items()}


def _rates(rate):
  """Peak rate of both parts of stage 2; each ends at a tenth of it, as in the paper."""
  return {f"{stage}.{name}": value for stage in ("stage2_warmup", "stage2")
          for name, value in (("learning_rate", rate), ("final_learning_rate", rate / 10))}
