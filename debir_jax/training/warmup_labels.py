"""Pseudo-ground-truth exposure times for the warm-up of BAENet (Sec. 5.3 of the paper).

For every shot (a scene under one draw of gain, camera and noise) every combination of the set E is taken, restored and
compared; the best one by the training loss, L1, is the label. BAENet then sees the previews of the very same shot.
"""

import json
import pathlib
from typing import Callable

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.evaluation.candidates import pseudo_ground_truth
from debir_jax.files import write_text
from debir_jax.policies import candidate_set
from debir_jax.simulator import Shot
from debir_jax.training.experiment import Experiment
from debir_jax.training.logs import say
from debir_jax.training.stages import Stage
from debir_jax.types import Scene

Labels = Callable[[Scene, int], tuple[Shot, jax.Array]]


def warmup_labels(experiment: Experiment, stage: Stage, restoration_params, directory: pathlib.Path) -> Labels:
  """Finds the labels, or reads those that an interrupted run found.

  Args:
    experiment: the run.
    stage: whose split of the scenes is labelled.
    restoration_params: of the pre-trained restorer.
    directory: of the stage; the labels are kept in `labels.json`.

  Returns:
    A function of a batch of scenes and the step, which gives the shots and the labels `[B, n]` in s.
  """
  num_draws = experiment.config[stage.name].label_draws
  evaluator = experiment.label_evaluator(num_draws)
  candidates = candidate_set(experiment.setup.timing)
  path = directory / "labels.json"
  if not path.exists():
    _write_labels(path, experiment, stage, evaluator, candidates, restoration_params)
  found = json.loads(path.read_text())
  times_of = {scene_id: candidates.exposure_times[best] for scene_id, best in zip(found["scene_ids"], found["best"])}

  def labels(scenes: Scene, step: int) -> tuple[Shot, jax.Array]:
    draw = step % num_draws
    times = np.stack([times_of[scene_id][draw] for scene_id in np.asarray(scenes.scene_id).tolist()])
    return evaluator.shots(scenes.scene_id, draw), jnp.asarray(times, jnp.float32)

  return labels


def _write_labels(path, experiment, stage, evaluator, candidates, restoration_params):
  say(f"{stage.name:14s} searching the best of {', '.join(candidates.names)} for every scene ...")
  scores = evaluator.score_candidates(
      candidates.exposure_times, experiment.all_scenes(stage.split), restoration_params)
  best, _ = pseudo_ground_truth(scores)  # [scenes, draws]
  counts = np.bincount(best.ravel(), minlength=len(candidates.names))
  say(f"{stage.name:14s} labels: " + ", ".join(f"{name}: {count}" for name, count in zip(candidates.names, counts)))
  path.parent.mkdir(parents=True, exist_ok=True)
  write_text(path, json.dumps(dict(candidates=candidates.names, scene_ids=scores.scene_ids.tolist(),
                                   best=best.tolist())))
