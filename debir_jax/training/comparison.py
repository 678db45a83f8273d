"""After the stages: what the predicted exposure times are worth on test scenes.

1. Headroom: every candidate of the set E under the stage 1 restorer, best fixed against best per scene. It bounds what
   any policy can gain; near zero means that scenes or restorer leave nothing to choose.
2. Table: DEBIR against fixed exposure times on the same scenes and noise draws, a column per way to be fair. Under the
   *stage 1 restorer*, trained on exposure times at random, only the exposure times differ. With *fine-tuned restorers*,
   one for each method, trained by the same number of steps as stage 3 and from the same start, the comparison is the
   paper's.
3. Pictures: previews, bursts and results through a viewing ISP; predicted times against motion and gain (Fig. 3).

After stage 1 alone there is no BAENet: the fixed exposure times are compared with one another. Without fine-tuning
(`config.comparison.finetune`) nothing is trained: DEBIR with its own restorer stands alone in a column of its own, as
that restorer was made for DEBIR's exposure times, which the fixed ones would have against them. Where there is no stage
1 restorer, beside the networks or in the run that they come from, fixed exposure times are not compared at all.
"""

import json
import pathlib
from typing import Any, Mapping

import ml_collections

from debir_jax.config.capture import timing_of
from debir_jax.evaluation import plots
from debir_jax.evaluation.candidates import headroom
from debir_jax.evaluation.evaluate import Method
from debir_jax.evaluation.records import records_path, write_records
from debir_jax.evaluation.summary import format_headroom, format_table, json_fields, summarize
from debir_jax.policies import Policy, bracket, candidate_set, uniform
from debir_jax.runtime import processes
from debir_jax.runtime.files import folder_name, local_path, write_text
from debir_jax.runtime.fingerprint import fingerprint
from debir_jax.runtime.progress import log
from debir_jax.training.experiment import Experiment
from debir_jax.training.loop import StageRun, train_stage
from debir_jax.training.stages import STAGES
from debir_jax.training.state import TrainState
from debir_jax.types import SUBFRAME_RATE_HZ, BurstTiming

OURS = "DEBIR"
STAGE1_COLUMN, FINETUNED_COLUMN = "stage 1 restorer", "fine-tuned restorers"
OWN_COLUMN = "restorer of DEBIR"
_UNIFORM_SUBFRAMES = (8, 16, 24, 32)
_NUM_PICTURED = 3


def check_comparable(config: ml_collections.ConfigDict) -> None:
  """Raises a ValueError where the stages of a config do not end with what its comparison needs."""
  if not config.comparison.enabled or not config.stages:
    return
  if config.comparison.finetune and config.stages[-1] != "stage3":
    raise ValueError(
        f"config.stages ends with {config.stages[-1]}, but a comparison with a fine-tuned restorer for every method "
        "needs DEBIR's of stage3. Add stage3, or set config.comparison.finetune=False.")


def compare(experiment: Experiment, workdir: pathlib.Path, trained: TrainState, *, with_bae: bool = True,
            policies: Mapping[str, Policy] | None = None) -> str:
  """Writes tables, records and pictures into `workdir/results`; returns the table.

  Args:
    experiment: the run.
    workdir: with a finished stage 1 where there is fine-tuning; fine-tuned baselines go into `workdir/finetuned`.
    trained: the networks.
    with_bae: whether BAENet is trained.
    policies: further rows, by name.
  """
  section, results = experiment.config.comparison, workdir / "results"
  results.mkdir(exist_ok=True)
  pretrained = _stage1_restorer(experiment, workdir, trained, with_bae)
  if section.headroom_scenes and pretrained is not None:
    _report_headroom(experiment, pretrained.restoration_variables, results)
  policies = ({OURS: experiment.bae_policy(trained)} if with_bae else {}) | dict(policies or {}) | fixed_policies(
      experiment.setup.timing)
  columns = _columns(experiment, workdir, trained, pretrained, policies)
  log(f"evaluating all methods on the {section.split} scenes ...")
  records = {column: experiment.evaluate(methods, section.split) for column, methods in columns.items()}
  if not processes.is_main():
    return ""
  reference = next(iter(policies))
  for column in columns:
    write_records(records_path(results, column), records[column])
  summaries = {column: summarize(rows, reference=reference) for column, rows in records.items()}
  write_text(results / "table.json", json.dumps(
      {column: list(map(json_fields, rows)) for column, rows in summaries.items()}, indent=2) + "\n")
  write_text(results / "table.md", format_table(summaries, reference=reference, markdown=True) + "\n")
  last = list(columns)[-1]
  _draw(experiment, columns[last], records[last], workdir)
  table = format_table(summaries, reference=reference)
  log("\n" + table)
  return table


def _stage1_restorer(experiment, workdir, trained, with_bae) -> TrainState | None:
  """The state of stage 1: that of the run, or of what it started from; None where there is none."""
  if not with_bae:
    return trained
  sources = [workdir]
  if experiment.config.init_from:
    sources.append(local_path(experiment.config.init_from, "config.init_from"))
  for source in sources:
    if experiment.has_stage1_restorer(source):
      return experiment.load_stage1_restorer(source, experiment.initial_state())
  if experiment.config.comparison.finetune:
    raise FileNotFoundError(f"There is no stage 1 in {' or '.join(map(str, sources))}, from which the restorer of "
                            "every method would be fine-tuned. Set config.comparison.finetune=False.")
  log(f"There is no stage 1 restorer in {' or '.join(map(str, sources))}: fixed exposure times are not compared, as "
      "they would be under a restorer that was made for DEBIR's.")
  return None


def _columns(experiment, workdir, trained, pretrained, policies) -> dict[str, list[Method]]:
  """Methods with their restorers by column."""
  columns = {}
  if pretrained is not None:
    columns[STAGE1_COLUMN] = [
        Method(name, policy, pretrained.restoration_variables) for name, policy in policies.items()]
  if experiment.config.comparison.finetune:
    columns[FINETUNED_COLUMN] = [
        Method(name, policy, trained.restoration_variables if name == OURS else
               finetuned(experiment, name, policy, pretrained, workdir)) for name, policy in policies.items()]
  elif OURS in policies and (pretrained is None or _was_finetuned(trained, pretrained)):
    columns[OWN_COLUMN] = [Method(OURS, policies[OURS], trained.restoration_variables)]
  return columns


def _was_finetuned(trained, pretrained):
  return fingerprint(trained.restoration_variables) != fingerprint(pretrained.restoration_variables)


def fixed_policies(timing: BurstTiming) -> dict[str, Policy]:
  """Bracketing and uniform exposures, by name."""
  times = bracket(timing).exposure_times
  name = "bracket {" + ",".join(f"{t * SUBFRAME_RATE_HZ:.3g}" for t in times) + "}"
  return {name: bracket(timing)} | {
      f"uniform {{{t}}}": uniform(t / SUBFRAME_RATE_HZ) for t in _UNIFORM_SUBFRAMES}


def finetuned_folders(config: ml_collections.ConfigDict, policies: Mapping[str, Policy]) -> list[str]:
  """Names of the folders of fine-tuned restorers that the comparison of a config makes."""
  if not config.comparison.enabled or not config.comparison.finetune:
    return []
  return [folder_name(name) for name in (*policies, *fixed_policies(timing_of(config)))]


def _report_headroom(experiment: Experiment, restoration_variables: Any, results: pathlib.Path) -> None:
  section = experiment.config.comparison
  log("measuring the headroom: every candidate exposure under the stage 1 restorer ...")
  evaluator = experiment.evaluator_with(num_draws=section.headroom_draws)
  candidates = candidate_set(experiment.setup.timing)
  scores = experiment.score_candidates(
      evaluator, candidates.exposure_times, section.split, restoration_variables, section.headroom_scenes)
  if not processes.is_main():
    return
  result = headroom(scores.psnr, scores.groups)
  write_text(results / "headroom.json", json.dumps(dict(
      candidates=candidates.names, mean_psnr=result.mean_psnr.tolist(), best_fixed=candidates.names[result.best_fixed],
      best_fraction=result.best_fraction.tolist(), gain_per_scene_db=result.per_scene,
      gain_per_capture_db=result.per_capture,
      gain_cross_validated_db=result.unbiased, gain_cross_validated_error_db=result.unbiased_error,
      num_scenes=result.num_scenes, num_draws=result.num_draws, num_groups=result.num_groups), indent=2))
  write_text(results / "headroom.md", format_headroom(result, scores, markdown=True) + "\n")
  log("\n" + format_headroom(result, scores) + "\n")


def finetuned(experiment: Experiment, name: str, policy: Policy, pretrained: TrainState, workdir: pathlib.Path) -> Any:
  """Variables of the stage 1 restorer after stage 3 with a policy in BAENet's place; kept in `workdir/finetuned`."""
  stage = STAGES["stage3"]
  run = StageRun(stage=stage, directory=workdir / "finetuned" / folder_name(name),
                 num_steps=experiment.config[stage.name].num_steps,
                 step_fn=experiment.finetune_step_fn(stage, policy), policy_of=lambda state: policy, fixed_times=True)
  state = train_stage(experiment, run, pretrained)
  return state.restoration_variables


def _draw(experiment, methods, records, workdir) -> None:
  results = workdir / "results"
  scenes = experiment.all_scenes(experiment.config.comparison.split, _NUM_PICTURED)
  examples = experiment.evaluator.examples(methods[:2], scenes)
  plots.comparison_sheet(results / "comparison.png", examples)
  if OURS in {method.name for method in methods}:
    plots.exposure_scatter(results / "exposure_times.png", records, method=OURS)
    if len(methods) > 1:
      plots.differences_by_condition(results / "by_condition.png", records, reference=OURS)
  logs = [path for name in experiment.config.stages if (path := workdir / name / "log.jsonl").exists()]
  if logs:
    plots.training_curves(results / "training.png", logs)
