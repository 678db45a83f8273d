"""Networks that the experiments of one scale share: each is trained once, into `<workdir>/networks/<name>`.

Results on other test scenes are in `<workdir>/on_<source>`, whose networks are those of the workdir.
"""

import json
import pathlib
from typing import Any, Iterable, Mapping, Sequence

import ml_collections

from debir_jax.config.compatibility import compatibility_of
from debir_jax.config.networks import models_of
from debir_jax.evaluation import Method
from debir_jax.policies import Policy, bracket, uniform
from debir_jax.runtime.files import folder_name, local_path
from debir_jax.runtime.workdir import locked
from debir_jax.training import comparison, runner
from debir_jax.training.experiment import Experiment
from debir_jax.training.state import TrainState
from debir_jax.types import SUBFRAME_RATE_HZ
from debir_jax.weights.descriptions import with_defaults
from debir_jax.weights.weight_file import RESTORER_STAGE1_FILE, load_weights

DEBIR = "DEBIR"
UNIFORM_EXPOSURE = "uniform exposure (BAENet)"
_RESTORER = "restorer"
STAGES = ("stage2_warmup", "stage2", "stage3")


def on_other_scenes(workdir: pathlib.Path, source: str) -> pathlib.Path:
  """Where results on other test scenes are, see the module."""
  return workdir / f"on_{folder_name(source)}"


def pretrained(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> tuple[Experiment, TrainState]:
  """Stage 1, from which everything else starts; trained, unless the weights of `config.init_from` have it."""
  source = _stage1_source(config, workdir)
  if source == _folder(config, workdir, _RESTORER):
    runner.run(_changed(config, {"stages": ("stage1",), "init_from": ""}), str(source))
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
    start: network and stage where the first of them starts; by default the shared restorer.
    until: the stage after which its networks are wanted; the last one.
  """
  source = _stage1_source(config, workdir) if start[0] == _RESTORER else _folder(config, workdir, start[0])
  config = _changed(config, {"stages": stages, "init_from": str(source),
                             "init_stage": start[1], "start_from_scratch": False, **changes})
  runner.run(config, str(_folder(config, workdir, name)))
  return load(config, workdir, name, stage=until or stages[-1])


def load(config: ml_collections.ConfigDict, workdir: pathlib.Path, name: str, *,
         stage: str = STAGES[-1]) -> tuple[Experiment, TrainState]:
  """A network as a stage left it.

  Raises:
    FileNotFoundError: it is not trained.
  """
  experiment, folder = Experiment(config), _folder(config, workdir, name)
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
  """Bracketing and the longest uniform exposure, each with a restorer fine-tuned for it."""
  timing = experiment.setup.timing
  longest = SUBFRAME_RATE_HZ * timing.budget_s / timing.num_frames
  return finetuned(experiment, start, workdir, {"bracketing": bracket(timing), **uniforms([longest])})


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


def _stage1_source(config, workdir) -> pathlib.Path:
  """Where stage 1 is found: in the weights that the config starts from, where they are for its bursts and network; else
  in a run of its own."""
  own = _folder(config, workdir, _RESTORER)
  if not config.init_from or (own / "stage1").is_dir():
    return own
  weights = local_path(config.init_from, "config.init_from")
  known = with_defaults("restoration", load_weights(weights / RESTORER_STAGE1_FILE)[1])
  wanted = json.loads(json.dumps(compatibility_of(config, models_of(config))["restoration"]))
  return weights if all(known.get(name) == value for name, value in wanted.items()) else own


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
