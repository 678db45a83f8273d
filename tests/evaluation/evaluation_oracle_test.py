"""The oracle among other methods: it knows scene, gain and camera of a capture, but not its noise."""

import dataclasses
import inspect

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.evaluation import Evaluator, Method, Oracle
from debir_jax.pipeline import Chain
from debir_jax.policies import candidate_set, search_exposure_times
from debir_jax.simulator import CaptureSetup, PoissonGaussianNoise
from debir_jax.types import BurstTiming, CameraColor, Scene

_TIMING = BurstTiming.paper(num_frames=2)
_NUM_SUBFRAMES, _SIDE = _TIMING.num_subframes(_TIMING.budget_s), 12
_CANDIDATES = candidate_set(_TIMING).exposure_times


class WeightedMean(nn.Module):
  """A weighted mean of the two frames, by weights that are no parameters."""

  weights: tuple[float, float]

  def __call__(self, raw):
    return jnp.einsum("n,...nhwc->...hwc", jnp.asarray(self.weights), raw)


_FIRST, _MEAN = WeightedMean((1.0, 0.0)), WeightedMean((0.5, 0.5))


def _scenes(*speeds):
  """Gratings that move by so many px per subframe."""
  frame, y, x = np.mgrid[:_NUM_SUBFRAMES, :_SIDE, :_SIDE].astype(np.float32)
  radiance = np.stack([0.4 + 0.3 * np.sin(0.9 * x + 0.4 * y - 0.9 * speed * frame) for speed in speeds])
  color = CameraColor(white_balance=jnp.ones((len(speeds), 3)), ccm=jnp.tile(jnp.eye(3), (len(speeds), 1, 1)))
  return Scene(radiance=jnp.repeat(jnp.asarray(radiance)[..., None], 4, -1), color=color,
               scene_id=jnp.arange(len(speeds)))


def _chain(restorer, gain=24.0, black_level=0.0):
  setup = CaptureSetup(timing=_TIMING, noise_model=PoissonGaussianNoise(1e-4, 1e-8), min_preview_gain=gain,
                       max_preview_gain=gain, black_level=black_level)
  return Chain(setup=setup, restorer=restorer)


def _searched(restorer, scenes, *, num_draws=2, seed=0, gain=24.0, black_level=0.0, **options):
  """Records of the oracle, and losses `[scenes, draws, m]` of its candidates on the same captures."""
  chain = _chain(restorer, gain, black_level)
  evaluator = Evaluator(chain, num_draws=num_draws, seed=seed, batch_size=len(scenes.scene_id))
  oracle = Oracle(chain=chain, **dict(candidates=_CANDIDATES) | options)
  records = evaluator.evaluate([Method("oracle", oracle, {}, uses_ground_truth=True)], scenes)
  l1 = np.array([record.l1 for record in records]).reshape(num_draws, -1).T
  times = np.array([record.exposure_times for record in records]).reshape(num_draws, len(l1), 2).transpose(1, 0, 2)
  return times, l1, evaluator.score_candidates(oracle.candidates, scenes, {}).l1


def test_it_does_not_know_the_noise_it_is_measured_on():
  """Two candidates that are equally good for a still scene: one of two bursts is restored better by chance, and by
  chance alone the oracle finds it, in about half of the captures; a search on that noise would find it in all."""
  candidates = np.array([[8, 24], [24, 8]]) / 1920
  times, _, fixed = _searched(_MEAN, _scenes(*[0] * 8), num_draws=4, candidates=candidates, num_steps=1)
  chosen = np.abs(times[..., None, :] - candidates).sum(-1).argmin(-1)
  assert 0.2 < np.mean(chosen == fixed.argmin(-1)) < 0.8
  np.testing.assert_allclose(1920 * times, 1920 * candidates[chosen], atol=0.1)  # After a single step.


def test_the_oracle_beats_every_candidate_on_noise_it_has_not_seen():
  """For the frame that counts it descends beyond them: longer than any where nothing moves, between two where something
  does, as short as can be where much moves."""
  times, l1, fixed = _searched(_FIRST, _scenes(0, 0.01, 0.05))
  first, ratio = 1920 * times[..., 0].mean(1), l1.mean(1) / fixed.mean(1).min(-1)
  assert first[0] > 48 > 32 > 22 > first[1] > 17 and first[2] == pytest.approx(8, abs=0.1)
  assert ratio[0] < 0.8 and ratio[1] < 0.99 and ratio[2] < 1 + 1e-4
  slow, _, _ = _searched(_FIRST, _scenes(0, 0.01, 0.05), learning_rate=1e-6)
  np.testing.assert_allclose(1920 * slow[:2, :, 0], [[32, 32], [16, 16]], atol=0.1)


def test_it_searches_by_default_as_the_search_does_on_its_own():
  """As many steps, of the same size."""
  defaults = {field.name: field.default for field in dataclasses.fields(Oracle)}
  for name in ("num_steps", "learning_rate"):
    assert defaults[name] == inspect.signature(search_exposure_times).parameters[name].default, name


def test_it_knows_the_gain():
  """The more noise, the longer the exposure of a scene that moves."""
  first = [_searched(_FIRST, _scenes(0.02), gain=gain)[0][0, :, 0].mean() for gain in (8.0, 64.0)]
  assert first[1] > 1.3 * first[0]


def test_it_knows_the_black_level():
  """In the dark, noise that is not cut off below 0 counts twice: the exposure of a scene that moves is longer."""
  scenes = _scenes(0.03)
  dark = dataclasses.replace(scenes, radiance=jnp.maximum(scenes.radiance - 0.6, 0))
  first = [_searched(_FIRST, dark, gain=300.0, black_level=level)[0][0, :, 0].mean() for level in (0.0, 0.2)]
  assert first[1] > 1.2 * first[0]
