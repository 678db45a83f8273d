"""Trains the networks of `debir_jax.motion.residual_flow` on scenes whose motion is known exactly.

  python -m experiments.residual_motion.train --photos=FOLDER,FOLDER --workdir=runs/residual_motion

writes WORKDIR/residual.safetensors, the file inside the package. Bursts, and what the global search finds in them, are
made once and kept in WORKDIR.
"""

import argparse
import dataclasses
import functools
import math
import pathlib
import shutil
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from debir_jax.motion.burst_flow import UNIT_S, WindowedMotion
from debir_jax.motion.residual_flow import find_residual, init_networks, residual_flow, save_networks
from experiments.residual_motion.examples import Example, config_of, load_examples, save_examples, training_examples

_BATCH_SIZE = 8
_LEARNING_RATE, _WEIGHT_DECAY = 1.5e-3, 1e-4
_LOG_EVERY_STEPS = 100
_SHARD = 400  # Bursts in a file.
_LOOK_WEIGHTS = (0.5, 0.5, 1.0)


def main(argv: list[str]) -> None:
  args = _parser().parse_args(argv)
  args.workdir.mkdir(parents=True, exist_ok=True)
  examples = load_examples(_made(args))
  train(examples, args.steps, args.workdir / "residual.safetensors", args.minutes)


def train(examples: Example, num_steps: int, path: pathlib.Path, minutes: float = math.inf) -> None:
  """Trains for so many steps, or so long, and writes the networks."""
  variables = jax.jit(init_networks)(jax.random.key(0))
  # A batch in thousands has a gradient that is no number; it is left out.
  optimizer = optax.apply_if_finite(optax.chain(
      optax.clip_by_global_norm(1.0), optax.scale_by_adam(b2=0.99), optax.add_decayed_weights(_WEIGHT_DECAY)), 10)
  state, rng, start, logged = optimizer.init(variables), np.random.default_rng(0), time.monotonic(), []
  step = jax.jit(functools.partial(_step, optimizer), donate_argnums=(0, 1))
  for number in range(num_steps):
    progress = max(number / num_steps, (time.monotonic() - start) / (60 * minutes))
    if progress >= 1:
      break
    chosen = rng.choice(len(examples.gray), _BATCH_SIZE, replace=False)
    batch = jax.tree.map(lambda leaf: leaf[chosen], examples)
    variables, state, terms = step(variables, state, jax.random.key(number), batch, progress)
    logged.append(jax.device_get(terms))
    if len(logged) == _LOG_EVERY_STEPS:
      means = {name: np.nanmean([each[name] for each in logged]) for name in logged[0]}
      print(number + 1, f"{time.monotonic() - start:.0f} s", f"left out {int(state.total_notfinite)}",
            *(f"{k} {v:.4f}" for k, v in means.items()), flush=True)
      save_networks(path, variables)
      logged = []
  save_networks(path, variables)


def _step(optimizer, variables, state, key, batch, progress):
  loss = lambda variables: _batch_loss(variables, key, batch)
  (_, terms), gradient = jax.value_and_grad(loss, has_aux=True)(variables)
  updates, state = optimizer.update(gradient, state, variables)
  rate = _LEARNING_RATE * jnp.minimum(1, 50 * progress) * 0.5 * (1 + jnp.cos(jnp.pi * progress))
  variables = jax.tree.map(lambda value, update: value - rate * update, variables, updates)
  return variables, state, terms | dict(gradient_norm=optax.global_norm(gradient))


def _batch_loss(variables, key, batch):
  losses, terms = jax.vmap(functools.partial(_loss, variables))(jax.random.split(key, len(batch.gray)), batch)
  return losses.mean(), jax.tree.map(jnp.mean, terms)


def _loss(variables, key, example):
  turn_key, push_key = jax.random.split(key)
  example = _reoriented(turn_key, example)
  base = WindowedMotion(parameters=_pushed(push_key, example.parameters), size=example.gray.shape[1:])
  found = find_residual(variables, example.gray, example.middle_s, example.exposure_s, example.weights, base)
  elapsed = example.middle_s / UNIT_S
  exact = example.flow_px.astype(jnp.float32)
  missing = (exact - base.at(example.middle_s))[1:]  # The preview is looked at, not restored.
  speed = jnp.mean(jnp.linalg.norm(exact[-1], axis=-1)) / elapsed[-1]
  total, terms = 0.0, {}
  error_of = lambda residual: jnp.sum(jnp.linalg.norm(
      missing - residual_flow(residual, elapsed[1:]) + 1e-6, axis=-1), 0) / jnp.sum(elapsed[1:])
  terms["base"] = error_of(jnp.zeros_like(found[0][0])).mean()
  for number, (weight, (residual, expected)) in enumerate(zip(_LOOK_WEIGHTS, found)):
    error, scale = error_of(residual), expected / 2  # Of a density exp(-error / scale) / scale^2.
    likelihood = jnp.mean(error / scale + 2 * jnp.log(scale))
    relative = jnp.mean(error) / (speed + 0.15)
    total += weight * (0.3 * likelihood + 3 * relative)
    terms |= {f"nll{number}": likelihood, f"error{number}": error.mean()}
  return total, terms


def _reoriented(key, example):
  """The burst mirrored and turned at random, and its motions with it."""
  changes = (  # Of frames and flows; of a flow's components and of parameters, their order and signs.
      (lambda frames: frames[:, :, ::-1], (0, 1), (-1, 1), (0, 1, 2, 3, 4, 5), (-1, 1, -1, 1, -1, 1)),
      (lambda frames: frames[:, ::-1], (0, 1), (1, -1), (0, 1, 2, 3, 4, 5), (1, -1, 1, -1, -1, 1)),
      (lambda frames: frames.swapaxes(1, 2), (1, 0), (1, 1), (1, 0, 3, 2, 4, 5), (1, 1, 1, 1, -1, 1)))
  gray, flow, parameters = example.gray, example.flow_px, example.parameters
  for do, (change, components, signs, order, parameter_signs) in zip(jax.random.bernoulli(key, shape=(3,)), changes):
    gray = jnp.where(do, change(gray), gray)
    flow = jnp.where(do, change(flow)[..., np.array(components)] * np.array(signs, flow.dtype), flow)
    parameters = jnp.where(do, parameters[..., np.array(order)] * np.array(parameter_signs, np.float32), parameters)
  return dataclasses.replace(example, gray=gray, flow_px=flow, parameters=parameters)


def _pushed(key, parameters):
  """A motion that was found, with a further error of its velocity and acceleration at times."""
  often_key, size_key, error_key = jax.random.split(key, 3)
  size = 0.6 * jax.random.uniform(size_key)**2 * (jax.random.uniform(often_key) < 0.3)
  speed = jnp.linalg.norm(parameters[..., :2], axis=-1, keepdims=True)
  error = size * speed * jax.random.normal(error_key, parameters.shape)
  return parameters + error * jnp.array([1, 1, 0.3, 0.3, 0, 0])


def _made(args):
  """The folder of examples; makes them where there are none."""
  folder = args.workdir / "examples"
  if folder.is_dir():
    return folder
  unfinished = args.workdir / "unfinished_examples"
  shutil.rmtree(unfinished, ignore_errors=True)
  unfinished.mkdir()
  config = config_of(args.photos)
  config.data.num_restore_scenes = args.scenes
  waiting, number = [], 0
  for example in training_examples(config, args.scenes):
    waiting.append(example)
    if len(waiting) == _SHARD:
      save_examples(unfinished / f"{number:03d}.npz", waiting)
      waiting, number = [], number + 1
      print(f"{number * _SHARD} bursts", flush=True)
  if waiting:
    save_examples(unfinished / f"{number:03d}.npz", waiting)
  return unfinished.rename(folder)


def _parser():
  parser = argparse.ArgumentParser(prog="python -m experiments.residual_motion.train", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--photos", required=True, metavar="FOLDER,FOLDER", help="of the list in experiments/pretraining")
  parser.add_argument("--workdir", type=pathlib.Path, required=True)
  parser.add_argument("--scenes", type=int, default=1500)
  parser.add_argument("--steps", type=int, default=5000)
  parser.add_argument("--minutes", type=float, default=math.inf, help="at most")
  return parser


if __name__ == "__main__":
  main(sys.argv[1:])
