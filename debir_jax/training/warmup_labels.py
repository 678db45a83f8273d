"""Pseudo-ground-truth exposure times for the warm-up of BAENet (Sec. 5.3 of the paper).

For every capture (a scene under one draw of gain, camera and noise) every combination of the set E is taken, restored
and compared; the best one by the training loss, L1, is the label. BAENet then sees the previews of the very same
capture.
"""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.config.capture import candidates_of
from debir_jax.evaluation.candidates import pseudo_ground_truth
from debir_jax.runtime import processes
from debir_jax.runtime.files import write_text
from debir_jax.runtime.progress import log
from debir_jax.training.experiment import Experiment, Labels
from debir_jax.training.losses import Batch
from debir_jax.training.stages import Stage
from debir_jax.types import Scene


def warmup_labels(experiment: Experiment, stage: Stage, restorer_variables, directory: pathlib.Path) -> Labels:
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
  path, num_scenes = directory / "labels.json", len(experiment.scenes[stage.split])
  # Before any process looks for labels, no process may have written them.
  known = processes.broadcast(path.exists())
  best = (_read_labels(path, num_scenes, num_draws) if known else
          _find_labels(path, experiment, stage, evaluator, candidates, restorer_variables))
  table = jnp.asarray(candidates.exposure_times[best], jnp.float32)  # [scenes, draws, n]
  look_up = jax.jit(lambda table, scene_ids, draw: table[scene_ids, draw])

  def labels(scenes: Scene, step: jax.Array) -> Batch:
    draw = step % num_draws
    conditions = evaluator.conditions(scenes.scene_id, draw)
    return Batch(scenes, conditions, look_up(table, scenes.scene_id, draw))

  return labels


def _read_labels(path, num_scenes, num_draws) -> np.ndarray:
  """Index of the best candidate, `[scenes, draws]`."""
  found = json.loads(path.read_text())
  best = np.asarray(found["best"])
  if found["scene_ids"] != list(range(num_scenes)) or best.shape != (num_scenes, num_draws):
    raise ValueError(f"{path} labels {best.shape} scenes and draws, but {num_scenes} scenes with {num_draws} draws are "
                     "wanted. Use the settings it was made with, or another --workdir.")
  return best


def _find_labels(path, experiment, stage, evaluator, candidates, restorer_variables) -> np.ndarray:
  """The same, by trying every candidate; the scenes are shared out among the processes."""
  log(f"{stage.name:14s} searching the best of {', '.join(candidates.names)} for every scene ...")
  scores = experiment.score_candidates(evaluator, candidates.exposure_times, stage.split, restorer_variables)
  best = pseudo_ground_truth(scores)[0]  # [scenes, draws]
  counts = np.bincount(best.ravel(), minlength=len(candidates.names))
  log(f"{stage.name:14s} labels: " + ", ".join(f"{name}: {count}" for name, count in zip(candidates.names, counts)))
  if processes.is_main():
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(dict(candidates=candidates.names, scene_ids=list(range(len(best))),
                                     best=best.tolist())))
  return best
