"""After the stages: what the predicted exposure times are worth on held-out scenes.

1. Headroom: every candidate of the set E under one restorer, best fixed against best per scene. It bounds what any
   policy can gain; near zero means that scenes or restorer leave nothing to choose.
2. Table: DEBIR against fixed exposure times on the same scenes and noise draws, in two columns. With *one* restorer,
   that of stage 1, only the exposure times differ. With a *fine-tuned* restorer for each method, trained by the same
   number of steps as stage 3 and from the same start, the comparison is the paper's.
3. Pictures: previews, bursts and results through a viewing ISP; predicted times against motion and gain (Fig. 3).

After stage 1 alone there is no BAENet: the fixed exposure times are compared with one another. Without fine-tuning
(`config.comparison.finetune`) nothing is trained: the one restorer is that of the trained networks. After stage 3 it
was made for BAENet's exposure times, which the fixed ones then have against them.
"""

import json
import pathlib
from typing import Any, Mapping

import ml_collections

from debir_jax.evaluation import plots
from debir_jax.evaluation.candidates import headroom
from debir_jax.evaluation.evaluate import Method
from debir_jax.evaluation.records import records_path, write_records
from debir_jax.evaluation.summary import format_headroom, format_table, summarize
from debir_jax.policies import Policy, bracket, candidate_set, uniform
from debir_jax.runtime import processes
from debir_jax.runtime.files import folder_name, write_text
from debir_jax.runtime.progress import log
from debir_jax.training.experiment import Experiment
from debir_jax.training.loop import StageRun, train_stage
from debir_jax.training.stages import STAGES
from debir_jax.training.state import TrainState
from debir_jax.types import SUBFRAME_RATE_HZ, BurstTiming

OURS = "DEBIR"
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
  pretrained = trained
  if section.finetune:
    pretrained = experiment.load_stage("stage1", workdir, experiment.initial_state())
  if section.headroom_scenes:
    _report_headroom(experiment, pretrained.restoration_variables, results)
  policies = ({OURS: experiment.bae_policy(trained)} if with_bae else {}) | dict(policies or {}) | fixed_policies(
      experiment.setup.timing)
  reference = next(iter(policies))
  columns = {"one restorer": dict.fromkeys(policies, pretrained.restoration_variables)}
  if section.finetune:
    columns["fine-tuned"] = {OURS: trained.restoration_variables} | {
        name: finetuned(experiment, name, policy, pretrained, workdir)
        for name, policy in policies.items() if name != OURS}

  log("evaluating all methods on the held-out scenes ...")
  records = {}
  for column, variables in columns.items():
    methods = [Method(name, policy, variables[name]) for name, policy in policies.items()]
    records[column] = experiment.evaluate(methods)
  if not processes.is_main():
    return ""
  for column in columns:
    write_records(records_path(results, column), records[column])
  summaries = {column: summarize(rows, reference=reference) for column, rows in records.items()}
  write_text(results / "table.md", format_table(summaries, reference=reference, markdown=True) + "\n")
  last = list(columns)[-1]
  _draw(experiment, policies, columns[last], records[last], workdir)
  table = format_table(summaries, reference=reference)
  log("\n" + table)
  return table


def fixed_policies(timing: BurstTiming) -> dict[str, Policy]:
  """Bracketing and uniform exposures, by name."""
  times = bracket(timing).exposure_times
  name = "bracket {" + ",".join(f"{t * SUBFRAME_RATE_HZ:.3g}" for t in times) + "}"
  return {name: bracket(timing)} | {
      f"uniform {{{t}}}": uniform(t / SUBFRAME_RATE_HZ) for t in _UNIFORM_SUBFRAMES}


def _report_headroom(experiment: Experiment, restoration_variables: Any, results: pathlib.Path) -> None:
  section = experiment.config.comparison
  log("measuring the headroom: every candidate exposure under one restorer ...")
  evaluator = experiment.evaluator_with(num_draws=section.headroom_draws)
  candidates = candidate_set(experiment.setup.timing)
  scores = experiment.score_candidates(
      evaluator, candidates.exposure_times, "eval", restoration_variables, section.headroom_scenes)
  if not processes.is_main():
    return
  result = headroom(scores.psnr)
  write_text(results / "headroom.json", json.dumps(dict(
      candidates=candidates.names, mean_psnr=result.mean_psnr.tolist(), best_fixed=candidates.names[result.best_fixed],
      best_fraction=result.best_fraction.tolist(), gain_per_scene_db=result.per_scene,
      gain_per_capture_db=result.per_capture,
      gain_cross_validated_db=result.unbiased, gain_cross_validated_error_db=result.unbiased_error,
      num_scenes=result.num_scenes, num_draws=result.num_draws), indent=2))
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


def _draw(experiment, policies, restorers, records, workdir) -> None:
  results = workdir / "results"
  methods = [Method(name, policies[name], restorers[name]) for name in list(policies)[:2]]
  examples = experiment.evaluator.examples(methods, experiment.all_scenes("eval", _NUM_PICTURED))
  plots.comparison_sheet(results / "comparison.png", examples)
  if OURS in policies:
    plots.exposure_scatter(results / "exposure_times.png", records, method=OURS)
  logs = [path for name in experiment.config.stages if (path := workdir / name / "log.jsonl").exists()]
  if logs:
    plots.training_curves(results / "training.png", logs)
