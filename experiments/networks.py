"""Networks that the experiments of one scale share: each is trained once, into `<workdir>/networks/<name>`.

Where the config starts from the weights inside the package, as at the scale "medium", networks that those have are
theirs. Labels of the warm-up, which can take longer than a training, are found once for all networks.

Results on other test scenes are in `<workdir>/on_<source>`, whose networks are those of the workdir.
"""

import pathlib
from typing import Any, Iterable, Mapping, Sequence

import ml_collections

from debir_jax.config.compatibility import compatibility_of
from debir_jax.config.networks import models_of
from debir_jax.evaluation import Method
from debir_jax.policies import Policy, bracket, uniform
from debir_jax.runtime.files import folder_name, local_path, read_json, write_text
from debir_jax.runtime.workdir import locked
from debir_jax.training import comparison, runner
from debir_jax.training.experiment import Experiment
from debir_jax.training.stages import stage_named
from debir_jax.training.state import TrainState
from debir_jax.training.warmup_labels import labels_made_of
from debir_jax.training.weight_files import fit
from debir_jax.types import SUBFRAME_RATE_HZ
from debir_jax.weights.shipped import DEFAULT, shipped_files
from debir_jax.weights.weight_file import RESTORER_FILE, RESTORER_STAGE1_FILE

DEBIR = "DEBIR"
UNIFORM_EXPOSURE = "uniform exposure (BAENet)"
_RESTORER = "restorer"
STAGES = ("stage2_warmup", "stage2", "stage3")
WARM_UP = ("warm-up", "stage2_warmup")
_FROM_OTHER_BURSTS = {"init_from_other_bursts": True, "stage1.num_steps": 3000, "stage1.learning_rate": 3e-4}
# Of the weights inside the package: name there, what is of this network, in which file its restorer is.
_SHIPPED = {_RESTORER: ("small", ["restoration"], RESTORER_STAGE1_FILE),
            DEBIR: ("small", ["restoration", "bae"], RESTORER_FILE),
            UNIFORM_EXPOSURE: ("small_one_time", ["restoration", "bae"], RESTORER_FILE)}


def of_seed(workdir: pathlib.Path, seed: int) -> pathlib.Path:
  """Where networks and results of a training seed are: of seed 0 in the workdir itself."""
  return workdir / f"seed_{seed}" if seed else workdir


def on_other_scenes(workdir: pathlib.Path, source: str) -> pathlib.Path:
  """Where results on other test scenes are, see the module."""
  return workdir / f"on_{folder_name(source)}"


def pretrained(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> tuple[Experiment, TrainState]:
  """Stage 1, from which everything else starts; trained, unless the weights inside the package have it. Where those are
  for bursts of another length, it starts from them."""
  source = _source(config, workdir, _RESTORER)
  if source == _folder(config, workdir, _RESTORER):
    start = _FROM_OTHER_BURSTS if _of_package(config, _RESTORER, other_bursts=True) else {"init_from": ""}
    runner.run(_changed(config, {"stages": ("stage1",), **start}), str(source))
  experiment = Experiment(config)
  return experiment, experiment.load_stage("stage1", source, experiment.initial_state())


def trained(config: ml_collections.ConfigDict, workdir: pathlib.Path, name: str, changes: Mapping[str, Any], *,
            stages: Sequence[str] = STAGES, start: tuple[str, str] = (_RESTORER, "stage1"),
            until: str | None = None) -> tuple[Experiment, TrainState]:
  """The stages after the first, under some changes of the config.

  Args:
    config, workdir: of the experiments.
    name: of the network.
    changes: fields of the config.
    stages: what it is trained by.
    start: network and stage where the first of them starts; by default the shared restorer. WARM_UP: BAENet after its
      warm-up, trained by no other stage.
    until: the stage after which its networks are wanted; the last one.
  """
  if start == WARM_UP:
    trained(config, workdir, WARM_UP[0], {"bae.network": "baenet"}, stages=("stage2_warmup",))
  as_asked, folder = _changed(config, changes), _folder(config, workdir, name)
  if _source(as_asked, workdir, name) == folder:
    config_of_run = _changed(config, {"stages": stages, "init_from": str(_source(config, workdir, start[0])),
                                      "init_stage": start[1], "start_from_scratch": False, **changes})
    if "stage2_warmup" in stages:
      _share_labels(config_of_run, folder)
    runner.run(config_of_run, str(folder))
  return load(as_asked, workdir, name, stage=until or stages[-1])


def load(config: ml_collections.ConfigDict, workdir: pathlib.Path, name: str, *,
         stage: str = STAGES[-1]) -> tuple[Experiment, TrainState]:
  """A network as a stage left it.

  Raises:
    FileNotFoundError: it is not trained.
  """
  experiment, folder = Experiment(config), _source(config, workdir, name)
  if not experiment.has_stage(stage, folder):
    raise FileNotFoundError(f"There is no {name} in {folder}. Run `python -m experiments.table1` of the same --scale "
                            "and --workdir first.")
  return experiment, experiment.load_stage(stage, folder, experiment.initial_state())


def with_frames(config: ml_collections.ConfigDict, workdir: pathlib.Path,
                num_frames: int) -> tuple[ml_collections.ConfigDict, pathlib.Path]:
  """Config and folder of networks for another burst length; those for the config's own stay where they are."""
  if num_frames == config.capture.num_frames:
    return config, workdir
  base = _base(config, workdir)
  return (_changed(config, {"capture.num_frames": num_frames}),
          base / f"{num_frames}_frames" / workdir.relative_to(base))


def fixed(experiment: Experiment, start: TrainState, workdir: pathlib.Path) -> list[Method]:
  """Bracketing and the uniform exposures of the whole and of half the budget, each with a restorer fine-tuned for it.

  Half of it, {16}, is the best fixed exposure for scenes that move as `configs/pretrain_small.py` has them.
  """
  timing = experiment.setup.timing
  longest = SUBFRAME_RATE_HZ * timing.budget_s / timing.num_frames
  return finetuned(experiment, start, workdir, {"bracketing": bracket(timing), **uniforms([longest / 2, longest])})


def uniforms(counts: Iterable[float]) -> dict[str, Policy]:
  """Uniform exposures of so many subframes, by name."""
  return {f"uniform {{{count:.3g}}}": uniform(count / SUBFRAME_RATE_HZ) for count in counts}


def finetuned(experiment: Experiment, start: TrainState, workdir: pathlib.Path,
              policies: Mapping[str, Policy]) -> list[Method]:
  """Policies with a restorer fine-tuned for each; networks that the experiments share, so one at a time trains them."""
  with locked(str(_base(experiment.config, workdir) / "networks")) as path:
    return [Method(name, policy, comparison.finetuned(experiment, name, policy, start, path))
            for name, policy in policies.items()]


def method(name: str, experiment: Experiment, state: TrainState) -> Method:
  """A trained network with the restorer that was fine-tuned for it."""
  return Method(name, experiment.bae_policy(state), state.restoration_variables)


def _source(config, workdir, name) -> pathlib.Path:
  """Where a network is found: in the weights inside the package, where the config starts from those and they are for
  its bursts and networks; else in a run of its own."""
  own = _folder(config, workdir, name)
  return own if own.is_dir() else _of_package(config, name) or own


def _of_package(config, name, *, other_bursts=False) -> pathlib.Path | None:
  """The folder of a network in the weights inside the package, where the config starts from those and they fit."""
  package = shipped_files(DEFAULT)[0].parent
  if config.seed and name != _RESTORER:  # Those in the package are of seed 0; stage 1 is for all seeds.
    return None
  if name not in _SHIPPED or not config.init_from or local_path(config.init_from, "config.init_from") != package:
    return None
  weights, parts, restorer_file = _SHIPPED[name]
  folder, compatibility = shipped_files(weights)[0].parent, compatibility_of(config, models_of(config))
  return folder if fit(folder, compatibility, parts, restorer_file=restorer_file, other_bursts=other_bursts) else None


def _share_labels(config, folder) -> None:
  """Copies the labels of another network, where they are those that this one would find, into its folder."""
  roots = folder.parents[1:3] if config.seed else folder.parents[1:2]  # Those of seed 0 lie above.
  others = [path for root in roots for path in root.glob("networks/*/stage2_warmup/labels.json")]
  path = folder / "stage2_warmup" / "labels.json"
  if path.is_file() or not others:
    return
  experiment, stage = Experiment(config), stage_named("stage2_warmup")
  state = runner.start_state(experiment, stage, folder)
  made_of = labels_made_of(experiment, stage, state.restoration_variables)
  for other in others:
    if read_json(other, "Delete it.").get("made_of") == made_of:
      path.parent.mkdir(parents=True, exist_ok=True)
      write_text(path, other.read_text())
      return


def _base(config, workdir) -> pathlib.Path:
  """The workdir whose networks are used: the one above that of other test scenes."""
  source, above = config.data.test_source, workdir.parent
  return above if source and workdir == on_other_scenes(above, source) else workdir


def _folder(config, workdir, name) -> pathlib.Path:
  return _base(config, workdir) / "networks" / folder_name(name)


def _changed(config, changes):
  config = config.copy_and_resolve_references()
  config.update_from_flattened_dict(dict(changes))
  return config
