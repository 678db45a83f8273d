"""What motion that is found costs, beside the error that stands for it: by hand."""

import jax.numpy as jnp
import numpy as np

from debir_jax.types import CameraColor, SampledMotion, Scene
from experiments.motion_error import UncertainChain, format_table


def test_losses_are_to_the_exact_motion():
  """Mean over photos with its error; the best exposure by each measure."""
  exact, found = np.full((4, 2), 30.0), np.array([[29.0, 28.0], [29.0, 28.0], [29.5, 27.0], [29.5, 27.0]])
  of = lambda psnr: dict(psnr=psnr.tolist(), l1=(-psnr).tolist())
  table = format_table(dict(counts=[8, 16], groups=["a", "a", "b", "b"], motion=dict(exact=of(exact), found=of(found))))
  assert "| found | 0.75 ± 0.25 | 2.50 ± 0.50 | {8}x4 | {8}x4 |" in table
  assert "4 scenes of 2 photos" in table


def test_every_scene_has_one_error_whatever_the_exposure():
  """Drawn by its number; in proportion to the relative error."""
  flow = jnp.arange(4)[None, :, None, None, None] * jnp.ones((2, 1, 3, 3, 2))
  scenes = Scene(radiance=jnp.zeros((2, 1, 2, 2, 4)), scene_id=jnp.array([3, 8]),
                 color=CameraColor(white_balance=jnp.ones((2, 3)), ccm=jnp.broadcast_to(jnp.eye(3), (2, 3, 3))),
                 motion=SampledMotion(flow_px=flow, interval_s=jnp.full(2, 0.01)))
  error = lambda relative: np.asarray(
      UncertainChain(setup=None, restorer=None, relative_error=relative).motion_of(scenes).velocity_error_px_s)
  np.testing.assert_allclose(error(0.3), 3 * error(0.1), rtol=1e-5)
  assert np.abs(error(0.1)[0] - error(0.1)[1]).min() > 0
