"""One run: its config, its networks, its scenes and its compiled steps, in one place."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
import pathlib
from typing import Any

import jax
import ml_collections
import numpy as np

from debir_jax.config.capture import capture_setup_of
from debir_jax.config.check import check_values
from debir_jax.config.compatibility import compatibility_of
from debir_jax.config.evaluation import check_measurable, metrics_of
from debir_jax.config.networks import bae_policy_of, models_of, penalties_of
from debir_jax.config.optimizers import cosine_schedule, optimizers_of
from debir_jax.config.scenes import batches_of, scene_sources_of
from debir_jax.evaluation.candidates import CandidateScores, merge_scores
from debir_jax.evaluation.evaluate import Evaluator, Method
from debir_jax.evaluation.plots import side_by_side
from debir_jax.evaluation.records import Record, record_of
from debir_jax.pipeline import Chain
from debir_jax.policies import BAENetPolicy, Policy, uniform
from debir_jax.restoration import Restorer
from debir_jax.runtime import mesh as mesh_lib
from debir_jax.runtime import processes
from debir_jax.runtime.platform import compiler_options
from debir_jax.runtime.progress import with_progress
from debir_jax.runtime.protocols import check_hashable
from debir_jax.scenes import SceneSource, group_of
from debir_jax.training.checkpoint import ALL_PARTS, Checkpoints
from debir_jax.training.guard import limits_of
from debir_jax.training.losses import Batch
from debir_jax.training.stages import Stage, stage_named
from debir_jax.training.state import TrainState, create_state
from debir_jax.training.steps import Outputs, StepOptions, Steps
from debir_jax.training.weight_files import is_weight_folder, load_restorer_of_other_bursts, load_weight_files
from debir_jax.types import Scene
from debir_jax.weights.weight_file import RESTORER_FILE, RESTORER_STAGE1_FILE

StepFn = Callable[[TrainState, Scene], tuple[TrainState, Outputs]]
Labels = Callable[[Scene, jax.Array], Batch]


class Experiment:
  """What the stages of a run share. Building it checks the whole config before anything is written."""

  def __init__(self, config: ml_collections.ConfigDict, *, restorer: Restorer | None = None,
               scenes: Mapping[str, SceneSource] | None = None):
    """
    Args:
      config: see `configs/default.py`.
      restorer: in the place of the config's.
      scenes: by split, in the place of the config's.
    """
    check_hashable("restorer", restorer)
    check_values(config)
    self.config = config
    self.models = models_of(config, restorer=restorer)
    self.setup = capture_setup_of(config, training=True)
    self.optimizers = optimizers_of(config)
    self.compatibility = compatibility_of(config, self.models)
    self.scenes = scene_sources_of(config, scenes)
    self.mesh = mesh_lib.make_mesh(config.parallel.num_devices)
    mesh_lib.check_batch_size(config.batch_size, self.mesh, config.parallel.num_microbatches)
    self.limits = limits_of(config)
    self.steps = Steps(self.models, self.setup, self.optimizers, StepOptions(
        mesh=self.mesh, shard_state=config.parallel.shard_state, num_microbatches=config.parallel.num_microbatches,
        clamp_loss=config.clamp_loss, noise_draws=config.stage2.noise_draws, penalties=penalties_of(config),
        motion_error=config.stage2.motion_error, restorer_motion_error=config.stage1.motion_error,
        exposure_loss=config.stage2.loss, reorient_previews=self._reorient("bae"), limits=self.limits,
        compiler_options=compiler_options()))
    self._metrics = metrics_of(config, self.models.restorer)
    if config.comparison.enabled or config.evaluation.watched_scenes:
      for crop_size in {self.scenes[split].crop_size for split in ("validation", "test")}:
        check_measurable(config, self._metrics, crop_size)
    self.evaluator = self.evaluator_with(num_draws=config.evaluation.num_draws)

  def initial_state(self) -> TrainState:
    """Random weights, the same for every stage of the run."""
    key = jax.random.key(self.config.seed)
    return create_state(key, self.models, self.optimizers, self.setup.timing, self.config.data.crop_size)

  def has_stage(self, name: str, source: pathlib.Path) -> bool:
    """Whether `load_stage` finds something: a stage in the workdir of a run, or a folder of weight files."""
    return (source / name / "checkpoints").is_dir() or is_weight_folder(source)

  def load_stage(self, name: str, source: pathlib.Path, state: TrainState) -> TrainState:
    """The networks as a stage of a run left them; BAENet only where that stage, or one before it, trained it.

    A folder of weight files stands for a run that is finished: before stage 3 the restorer is that of stage 1, where
    the folder has it.
    """
    stage = stage_named(name)
    is_first = stage.starts_from is None
    parts = ("restoration",) if is_first else ALL_PARTS
    if not (source / name / "checkpoints").is_dir() and is_weight_folder(source):
      unmoved = (is_first or not stage.moves_restorer) and (source / RESTORER_STAGE1_FILE).is_file()
      return load_weight_files(state, source, self.compatibility, [part for part in parts if part != "progress"],
                               restorer_file=RESTORER_STAGE1_FILE if unmoved else RESTORER_FILE)
    checkpoints = Checkpoints(source / name / "checkpoints", self.compatibility)
    try:
      return checkpoints.load_latest(state, parts)
    finally:
      checkpoints.close()

  def has_stage1_restorer(self, source: pathlib.Path) -> bool:
    """Whether `load_stage1_restorer` finds something."""
    return (source / "stage1" / "checkpoints").is_dir() or (source / RESTORER_STAGE1_FILE).is_file()

  def load_stage1_restorer(self, source: pathlib.Path, state: TrainState) -> TrainState:
    """The restorer as stage 1 left it: of the workdir of a run, or of a folder of weight files that has it."""
    if (source / "stage1" / "checkpoints").is_dir():
      return self.load_stage("stage1", source, state)
    return load_weight_files(state, source, self.compatibility, ["restoration"], restorer_file=RESTORER_STAGE1_FILE)

  def load_restorer_of_other_bursts(self, source: pathlib.Path, state: TrainState) -> TrainState:
    """A restorer that was trained for bursts of another length, of a folder of weight files, where stage 1 may start.

    Raises:
      FileNotFoundError: the folder has no restorer.
      ValueError: see `load_restorer_of_other_bursts` of the weight files.
    """
    if not is_weight_folder(source):
      raise FileNotFoundError(f"config.init_from_other_bursts: {source} is no folder of weight files. Make one of a "
                              "run by `python -m debir_jax.convert --from RUN --to FOLDER`.")
    name = RESTORER_STAGE1_FILE if (source / RESTORER_STAGE1_FILE).is_file() else RESTORER_FILE
    return load_restorer_of_other_bursts(state, source, self.compatibility, restorer_file=name)

  def batches(self, split: str, first_step: int) -> Iterator[Scene]:
    """Batches of scenes from a step onwards; the same ones whenever the run is resumed."""
    source = self.scenes[split]
    reorient = split == "restore" and self._reorient(split)
    return batches_of(self.config, source, first_step, self.mesh, reorient=reorient)

  def _reorient(self, split):
    """Whether what is learned from a split is shown mirrored and turned; squares only."""
    return self.config.data.reorient and bool(self.scenes[split].crop_size)

  def place(self, state: TrainState) -> TrainState:
    """A copy of a state where the steps want it."""
    return mesh_lib.place(state, self.mesh, self.config.parallel.shard_state)

  def local_copy(self, state: TrainState) -> TrainState:
    """A state that the steps returned, on this process's first device: for evaluation, and for the next stage."""
    return mesh_lib.local_copy(state, self.mesh)

  def all_scenes(self, split: str, which: int | Iterable[int] | None = None) -> Iterator[Scene]:
    """Every scene of a split once, or the first so many, or those of some indices, in batches of one scene."""
    source = self.scenes[split]
    if which is None or isinstance(which, int):
      which = range(min(len(source), which or len(source)))
    for index in which:
      yield jax.tree.map(lambda leaf: leaf[None], source.scene(index))

  def chain(self, *, training: bool = False) -> Chain:
    """What bursts go through; cameras are jittered in training only."""
    models = self.models
    return Chain(setup=capture_setup_of(self.config, training=training), restorer=models.restorer,
                 restorer_inputs=models.restorer_inputs, motion=models.motion)

  def evaluator_with(self, *, num_draws: int, preview_gain: float | None = None,
                     exact_motion: bool = False) -> Evaluator:
    """Measures methods with the calibrated camera; on request all at one gain of the preview, linear, and with frames
    that are aligned by the motion that scenes tell."""
    chain = dataclasses.replace(self.chain(), exact_motion=exact_motion)
    if preview_gain is not None:
      chain = dataclasses.replace(chain, setup=dataclasses.replace(
          chain.setup, min_preview_gain=preview_gain, max_preview_gain=preview_gain))
    return self._evaluator(chain, num_draws, self.config.evaluation.seed)

  def watch(self, state: TrainState,
            policy_of: Callable[[TrainState], Policy]) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """How a few scenes of the validation are restored at the moment.

    Args:
      state: see `local_copy`.
      policy_of: who chooses the exposure times.

    Returns:
      The mean PSNR as "watched_psnr" and the mean of `Example.alternate_frame_sensitivity` as
      "alternate_frame_sensitivity"; and reference frame, restored image and target side by side, `[1, H, 3 W, 3]` for
      each scene. Nothing where no scene is watched.
    """
    if not self.config.evaluation.watched_scenes:
      return {}, {}
    method = Method("watched", policy_of(state), state.restoration_variables)
    scenes = self.all_scenes("validation", self.config.evaluation.watched_scenes)
    examples = self.evaluator.examples([method], scenes, alternate_frame_sensitivity=True)
    images = {f"watched/scene_{example.scene_id}": side_by_side(example)[None] for example in examples}
    mean = lambda name: float(np.mean([getattr(example, name) for example in examples]))
    return dict(watched_psnr=mean("psnr"), alternate_frame_sensitivity=mean("alternate_frame_sensitivity")), images

  def evaluate(self, methods: Sequence[Method], split: str = "test", *, which: Sequence[int] | None = None,
               evaluator: Evaluator | None = None, change: Callable[[Scene], Scene] | None = None) -> list[Record]:
    """Measures methods on the scenes of a split, which the processes share out; every process gets all records.

    Args:
      methods: each with its restorer.
      split: of the scenes. No choice may be made on "test".
      which: indices of the scenes; all by default.
      evaluator: in the place of the run's own.
      change: makes of every scene, in batches of one, the one that is measured.
    """
    which = range(len(self.scenes[split])) if which is None else which
    scenes = self._scenes_with_progress(split, _share(which))
    mine = (evaluator or self.evaluator).evaluate(methods, map(change, scenes) if change else scenes)
    records = [record_of(fields) for fields in processes.all_gather([dataclasses.asdict(record) for record in mine])]
    return [dataclasses.replace(record, group=group_of(self.scenes[split], record.scene_id),
                                training_seed=self.config.seed) for record in records]

  def score_candidates(self, evaluator: Evaluator, candidates: jax.Array, split: str, restorer_variables: Any,
                       num_scenes: int | None = None) -> CandidateScores:
    """`Evaluator.score_candidates` on a split, or on its first scenes; the processes share them out."""
    indices = _share(range(min(len(self.scenes[split]), num_scenes or len(self.scenes[split]))))
    score = lambda scenes: dataclasses.asdict(evaluator.score_candidates(candidates, scenes, restorer_variables))
    merged = merge_scores(processes.all_gather([score(self._scenes_with_progress(split, indices))] if indices else []))
    return dataclasses.replace(merged, groups=tuple(
        group_of(self.scenes[split], int(scene_id)) for scene_id in merged.scene_ids))

  def _scenes_with_progress(self, split, indices):
    """`all_scenes`, with its progress on the screen."""
    return with_progress(self.all_scenes(split, indices), len(indices), "scenes")

  def label_evaluator(self, num_draws: int) -> Evaluator:
    """Searches the pseudo-ground-truth under the conditions of training. It belongs to the scenes, as a data set's
    labels do: another training seed learns from the same."""
    chain = dataclasses.replace(self.chain(training=True), exact_motion=self.config.stage2_warmup.exact_motion)
    return self._evaluator(chain, num_draws, self.config.data.seed)

  def bae_policy(self, state: TrainState) -> BAENetPolicy:
    """BAENet of a state as a policy."""
    return bae_policy_of(self.models, state.bae_variables)

  def policy_of(self, stage: Stage) -> Callable[[TrainState], Policy]:
    """Who chooses the exposure times of watched scenes: BAENet; before it is trained, three quarters of the budget."""
    if stage.kind == "random_exposure":
      timing = self.setup.timing
      return lambda state: uniform(0.75 * timing.budget_s / timing.num_frames)
    return self.bae_policy

  def _evaluator(self, chain, num_draws, seed):
    return Evaluator(
        chain, num_draws=num_draws, seed=seed, batch_size=self.config.batch_size, metrics=self._metrics,
        devices=[device for device in self.mesh.devices if device.process_index == jax.process_index()])

  def step_fn(self, stage: Stage, labels: Labels | None = None) -> StepFn:
    """The step of a stage.

    Args:
      stage: see `stages.py`.
      labels: for the warm-up, maps scenes and step to a batch with pseudo-ground-truth times.
    """
    step_fn = self._step_fn(stage, labels)
    if not self.config[stage.name].get("saturation", False):
      return lambda state, scenes: step_fn(state, self._as_seen(stage, scenes))
    return lambda state, scenes: step_fn(state, self._as_seen(stage, self.steps.with_saturation(
        self._stage_key(stage), state.step, scenes)))

  def _as_seen(self, stage, scenes):
    """Scenes as a stage sees them: without their motion where the stage aligns frames by what it finds in them."""
    return scenes if self.config[stage.name].exact_motion else dataclasses.replace(scenes, motion=None)

  def _step_fn(self, stage, labels):
    if stage.kind == "random_exposure":
      return self._restoration_step_fn(
          stage, lambda state, scenes, conditions: self.steps.random_exposure_times(conditions))
    if stage.kind == "predicted_exposure":
      return self._restoration_step_fn(stage, lambda state, scenes, conditions: self.steps.predicted_exposure_times(
          state.bae_variables, scenes, conditions))
    rate = self.learning_rate(stage.name)
    if stage.kind == "warmup":
      return lambda state, scenes: self.steps.warmup(state, labels(scenes, state.step), rate(state.step))
    batch_of = lambda state, scenes: Batch(scenes, self._conditions(self._stage_key(stage), state))
    if stage.kind == "exposure":
      return lambda state, scenes: self.steps.exposure(state, batch_of(state, scenes), rate(state.step))
    if stage.kind == "end_to_end":
      bae_rate = self.learning_rate(stage.name, "bae_")
      return lambda state, scenes: self.steps.end_to_end(
          state, stage.optimizer, batch_of(state, scenes), rate(state.step), bae_rate(state.step))
    raise ValueError(f"Unknown kind of stage {stage.kind!r}.")

  def finetune_step_fn(self, stage: Stage, policy: Policy) -> StepFn:
    """Stage 3 with another policy in BAENet's place, for the baselines: same key, same schedule."""
    step_fn = self._restoration_step_fn(
        stage, lambda state, scenes, conditions: self.steps.chosen_exposure_times(policy, scenes, conditions))
    return lambda state, scenes: step_fn(state, self._as_seen(stage, scenes))

  def learning_rate(self, stage_name: str, prefix: str = "") -> Callable[[jax.Array], jax.Array]:
    """Learning rate of a stage by step; `prefix` "bae_" for BAENet's where both networks move."""
    section = self.config[stage_name]
    return cosine_schedule(section[f"{prefix}learning_rate"], section[f"{prefix}final_learning_rate"],
                           section.num_steps, section.lr_warmup_steps)

  def _restoration_step_fn(self, stage, times_of):
    """A step of the restorer on the exposure times that `times_of(state, scenes, conditions)` gives."""
    key, rate = self._stage_key(stage), self.learning_rate(stage.name)

    def step_fn(state, scenes):
      conditions = self._conditions(key, state)
      batch = Batch(scenes, conditions, times_of(state, scenes, conditions))
      return self.steps.restoration(state, stage.optimizer, batch, rate(state.step))

    return step_fn

  def _conditions(self, key, state):
    return self.steps.conditions(key, state.step, self.config.batch_size)

  def _stage_key(self, stage):
    """Every stage draws its own noise."""
    tag = sum(stage.name.encode())  # Stable under reordering of the stages.
    return jax.random.fold_in(jax.random.key(self.config.seed), tag)


def _share(indices: Sequence[int]) -> list[int]:
  """Those of this process."""
  return [indices[place] for place in processes.shard_indices(len(indices))]
