"""From a checkpoint's names and arrays to the restored image, as the authors' release computes it, step by step.

Two previews, their motion, BAENet, exposure times, the burst, Burstormer: once through this package with converted
files, once written out in numpy from the facts of the release (`plain_chain.py`). Noise is off, so that nothing is
drawn. Both in float64: what one of them computes otherwise shows in the last digits of all that follows.
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import kept
import numpy as np
from plain_chain import CORNER, plain_chain
import pytest

from debir_jax.convert.__main__ import convert, write
from debir_jax.policies import observe
from debir_jax.simulator import PoissonGaussianNoise, simulate_burst, simulate_previews
from debir_jax.training.experiment import Experiment
from debir_jax.training.runner import trained_state
from debir_jax.types import CameraColor

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_NO_NOISE = PoissonGaussianNoise(0.0, 0.0)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
  """A run with the release's config that starts from the converted files."""
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(_ROOT))
    from configs import release  # pylint: disable=import-outside-toplevel
    config = release.get_config("debug")
  config.update(dict(
      restorer=dict(deform_groups=8, identity_alignment=False), bae=dict(blocks="mobilenet_v2", width=0.25),
      data=dict(crop_size=2 * kept.SIDE), motion=dict(full_scale_px_per_s=10 / (41 / 1920)),
      init_from=str(tmp_path_factory.mktemp("weights"))))
  write(convert(kept.release_weights(), config), pathlib.Path(config.init_from), overwrite=False)
  return Experiment(config)


@pytest.fixture(scope="module")
def ours(experiment):
  """What this package computes, under the names of `plain_chain`."""
  timing, models, key = experiment.setup.timing, experiment.models, jax.random.key(0)
  state = trained_state(experiment, pathlib.Path("unused"))
  with jax.enable_x64(True):
    wide = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree)
    preview_gain = jnp.array(kept.ISO_AT_1_240_S / 100 / 2)  # At twice the exposure time.
    color = CameraColor(white_balance=jnp.asarray(kept.WHITE_BALANCE), ccm=jnp.asarray(kept.CCM))
    radiance, policy = wide(kept.drifting_waves()), wide(experiment.bae_policy(state))
    previews = simulate_previews(key, radiance, preview_gain, _NO_NOISE, timing)
    observation = jax.jit(lambda previews, motion: observe(previews, preview_gain, color, motion, timing))(
        previews, wide(models.motion))
    times = jax.jit(lambda policy, observation: policy(key, observation, timing))(policy, observation)
    raw = simulate_burst(key, radiance, times, preview_gain, _NO_NOISE, timing)
    restorer = dataclasses.replace(models.restorer, dtype=None)  # Of the type of the burst.
    restored = jax.jit(restorer.apply)(wide(state.restoration_variables), raw[:, *CORNER])
    return jax.device_get(dict(previews=previews, motion=observation.motion_magnitude, times_s=times, raw=raw,
                               planes=policy.inputs(observation), restored=restored))


@pytest.fixture(scope="module")
def slow():
  """What the release computes."""
  return plain_chain(kept.release_weights(), kept.drifting_waves(), kept.WHITE_BALANCE, kept.CCM, kept.ISO_AT_1_240_S)


@pytest.mark.parametrize("name, least, most", [
    ("previews", 0.0, 1.0),  # Means of the entries 0 to 8 and 41 to 49.
    ("motion", 0.05, 0.9),  # RAFT's mean flow of half-size gamma previews after 20 updates, over ten px.
    ("planes", 0.0, 1.0),  # Linear sRGB of the later preview at the mosaic's size, motion, gain.
    ("times_s", 8 / 1920, 100 / 1920),  # 7 and a hundred shares.
    ("raw", 0.0, 1.0),  # Means from entry 57 on, each of k - 7 entries.
    ("restored", -5.0, 5.0)])
def test_every_step_is_that_of_the_release(ours, slow, name, least, most):
  """Neither still nor beyond full scale, neither black nor white, and the times differ."""
  assert np.shape(slow[name]) == ours[name].shape
  assert np.size(slow[name]) < 2 or np.ptp(slow[name]) > 0.01 * most
  assert least <= np.min(slow[name]) and np.max(slow[name]) <= most
  np.testing.assert_allclose(ours[name], slow[name], rtol=1e-8, atol=1e-9)


def test_the_chain_gives_the_numbers_that_are_kept(ours, slow):
  """To what float64 leaves after twenty updates of RAFT and a restoration."""
  kept.check("release_chain", kept.release_chain(slow))
  for name, expected in kept.load("release_chain").items():
    if name in ours:
      np.testing.assert_allclose(kept.some_pixels(ours[name]), expected, rtol=1e-8, atol=1e-9, err_msg=name)
