"""Measures networks that are there, without training: DEBIR, and fixed exposures under the restorer of stage 1.

python -m debir_jax.main --config=configs/evaluate.py --config.init_from=weights --workdir=runs/evaluate

`init_from` is a folder that `python -m debir_jax.convert` wrote, or the workdir of a run. What its networks were made
for stands behind the config file: ":release" (the default), ":default" (the paper), ":quickstart" (also the weights
inside the package), ":pretrain" or ":pretrain_small", for instance

python -m debir_jax.main --config=configs/evaluate.py:quickstart --config.init_from=runs/quickstart --workdir=runs/again

Fixed exposure times are compared where the restorer is there as stage 1 left it: in the run, or in the folder as
restorer_stage1.safetensors. One that was fine-tuned for DEBIR's times would be unfair to them.

Writes table.md, a record per burst and pictures into the results of the workdir. The scenes are photos in motion, or
windows of clips (`--config.data.test_clips=<folder>`). With the release's networks they are 532 of 256x256 px:
`--config.data.num_test_scenes=8` is for a first look, at about half a minute per scene on 2 busy CPU cores.
"""

from configs import default, pretrain, pretrain_small, quickstart, release

_SETTINGS = dict(release=release, default=default, quickstart=quickstart,
                 pretrain=pretrain, pretrain_small=pretrain_small)


def get_config(mode: str = ""):
  """The settings of one of `_SETTINGS`, shrunk where ",debug" follows its name; "debug" is "release,debug"."""
  name, _, size = ("release," + mode if mode in ("", "debug") else mode).partition(",")
  if name not in _SETTINGS:
    raise ValueError(f"Unknown settings {name!r} behind configs/evaluate.py; there are {', '.join(_SETTINGS)}.")
  config = _SETTINGS[name].get_config(size)
  config.stages = ()
  config.data.photos = config.data.photos or "builtin"
  config.comparison.update(dict(enabled=True, finetune=False, headroom_scenes=0))
  return config
