"""Pseudo-ground-truth exposure times for the warm-up of BAENet (Sec. 5.3 of the paper).

For every capture (a scene under one draw of gain, camera and noise) every combination of the set E is taken, restored
and compared; the best one by `config.stage2_warmup.label_metric` is the label. BAENet then sees the previews of the
very same capture.
"""

import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.config.capture import candidates_of
from debir_jax.evaluation.candidates import pseudo_ground_truth
from debir_jax.runtime import processes
from debir_jax.runtime.files import read_json, write_text
from debir_jax.runtime.fingerprint import fingerprint
from debir_jax.runtime.progress import log
from debir_jax.scenes import scenes_made_of
from debir_jax.training.experiment import Experiment, Labels
from debir_jax.training.losses import Batch
from debir_jax.training.stages import Stage
from debir_jax.types import Scene


def warmup_labels(experiment: Experiment, stage: Stage, restorer_variables: Any, directory: pathlib.Path) -> Labels:
  """Finds the labels, or reads those that an interrupted run found.

  Args:
    experiment: the run.
    stage: whose split of the scenes is labelled.
    restorer_variables: of the pre-trained restorer.
    directory: of the stage; the labels are kept in `labels.json`.

  Returns:
    A function of scenes and the step, which gives a batch whose exposure times are the labels.
  """
  num_draws = experiment.config[stage.name].label_draws
  evaluator = experiment.label_evaluator(num_draws)
  candidates = candidates_of(experiment.config)
  path = directory / "labels.json"
  made_of = labels_made_of(experiment, stage, restorer_variables)
  # Before any process looks for labels, no process may have written them.
  known = processes.broadcast(path.exists())
  best = _read_labels(path, made_of) if known else _find_labels(
      path, experiment, stage, evaluator, candidates, restorer_variables, made_of)
  table = jnp.asarray(candidates.exposure_times[best], jnp.float32)  # [scenes, draws, n]
  look_up = jax.jit(lambda table, scene_ids, draw: table[scene_ids, draw])

  def labels(scenes: Scene, step: jax.Array) -> Batch:
    draw = step % num_draws
    conditions = evaluator.conditions(scenes.scene_id, draw)
    return Batch(scenes, conditions, look_up(table, scenes.scene_id, draw))

  return labels


def labels_made_of(experiment: Experiment, stage: Stage, restorer_variables: Any) -> str:
  """A fingerprint of all that labels depend on, which `labels.json` has as `made_of`."""
  config = experiment.config
  return fingerprint(
      jax.device_get(restorer_variables), experiment.compatibility["restoration"],
      candidates_of(config).exposure_times.tolist(),
      config[stage.name].label_draws, config[stage.name].label_metric, config.data.seed, config.capture.to_dict(),
      scenes_made_of(experiment.scenes[stage.split]))


def _read_labels(path, made_of) -> np.ndarray:
  """Index of the best candidate, `[scenes, draws]`."""
  found = read_json(path, "Delete it: the labels are searched again.")
  if found.get("made_of") != made_of:
    raise ValueError(f"{path} was made with another restorer, other scenes or other settings. Delete it, and the "
                     "labels are searched again; or use what it was made with, or another --workdir.")
  return np.asarray(found["best"])


def _find_labels(path, experiment, stage, evaluator, candidates, restorer_variables, made_of) -> np.ndarray:
  """The same, by trying every candidate; the scenes are shared out among the processes."""
  log(f"{stage.name:14s} searching the best of {', '.join(candidates.names)} for every scene ...")
  scores = experiment.score_candidates(evaluator, candidates.exposure_times, stage.split, restorer_variables)
  best = pseudo_ground_truth(scores, metric=experiment.config[stage.name].label_metric)[0]  # [scenes, draws]
  counts = np.bincount(best.ravel(), minlength=len(candidates.names))
  log(f"{stage.name:14s} labels: " + ", ".join(f"{name}: {count}" for name, count in zip(candidates.names, counts)))
  if processes.is_main():
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(dict(made_of=made_of, candidates=candidates.names, best=best.tolist())))
  return best
