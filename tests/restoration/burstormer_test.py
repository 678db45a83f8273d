"""Burstormer is the published network, treats bursts independently, and says what it cannot take.

One small network is compiled for the laws; the published one only for the reference numbers.
"""

import functools

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from debir_jax.convert import burstormer_params, burstormer_path, conv_kernel
from debir_jax.restoration import Burstormer, deform_conv2d, light_burstormer

_REFERENCE = "official_color_f16_n8/"
_REFERENCE_MODEL = Burstormer(num_features=16, out_channels=3)
# As few blocks as there can be with one of each kind: what is compiled most often.
_light = functools.partial(light_burstormer, blocks_per_level=(1, 0), fusion_blocks=0)


@pytest.fixture(scope="module")
def reference(shared_dir):
  with np.load(shared_dir / "golden" / "burstormer.npz") as file:
    return {name.removeprefix(_REFERENCE): file[name] for name in file if name.startswith(_REFERENCE)}


@pytest.fixture(scope="module")
def variables(reference):
  prefix = "state_dict/"
  return burstormer_params({name.removeprefix(prefix): array for name, array in reference.items()
                            if name.startswith(prefix)})


@pytest.fixture(scope="module")
def double_precision_run(reference, variables):
  """Restored image, intermediate outputs and gradients of the reference loss by weight, in float64.

  Of the weights whose gradients are among the reference numbers: those of all would compile four times as long.
  """
  names = {name: f"params/{burstormer_path(name.removeprefix('grad_f64/'))}" for name in reference
           if name.startswith("grad_f64/")}
  with jax.enable_x64(True):
    burst, target = [nhwc(reference[name].astype(np.float64)) for name in ("input", "target")]

    def loss_fn(some, rest):
      weights = traverse_util.unflatten_dict(rest | {names[name]: array for name, array in some.items()}, sep="/")
      restored, state = _REFERENCE_MODEL.apply(weights, burst, capture_intermediates=True)
      return jnp.mean(jnp.abs(restored - target)), (restored, state["intermediates"])

    wide = traverse_util.flatten_dict(jax.tree.map(lambda array: array.astype(np.float64), variables), sep="/")
    some = {name: wide[path] for name, path in names.items()}
    (loss, (restored, intermediates)), gradients = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))(some, wide)
    return jax.device_get((loss, restored, intermediates, gradients))


@pytest.fixture(scope="module")
def light():
  """(model, variables, jitted apply) of a light network for four frames, with one attention block."""
  model = _light()
  return model, model.init(jax.random.key(0), jnp.zeros((4, 8, 8, 4))), jax.jit(model.apply)


@pytest.fixture(scope="module")
def light_gradients(light):
  """burst -> gradients of the sum of the restored pixels to the weights and to the burst."""
  model, variables, _ = light
  gradients = jax.jit(jax.grad(lambda *args: jnp.sum(model.apply(*args)), (0, 1)))
  return lambda burst: gradients(variables, burst)


def nhwc(array):
  return np.moveaxis(array, -3, -1)


def num_parameters(model, burst_shape):
  shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct(burst_shape, jnp.float32))
  return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def test_output_is_that_of_the_published_network(reference, double_precision_run):
  loss, restored, _, _ = double_precision_run
  np.testing.assert_allclose(restored, nhwc(reference["output_f64"]), rtol=0, atol=1e-10)
  np.testing.assert_allclose(loss, reference["loss_l1"], rtol=1e-7)  # The target is stored as float32.


def test_single_precision_is_close_to_the_published_network(reference, variables):
  restored = jax.jit(_REFERENCE_MODEL.apply)(variables, nhwc(reference["input"]))
  np.testing.assert_allclose(restored, nhwc(reference["output_f64"]), rtol=0, atol=1e-4)


def test_intermediate_features_are_those_of_the_published_network(reference, double_precision_run):
  """Stored as float32. The last block of a chain of blocks stands for the chain."""
  intermediates = double_precision_run[2]
  align = intermediates["align"]
  # The published modules rec_conv1 and conv1 include what stands in the same `Sequential`: GELU after rec_conv1.
  gelu = lambda x: jax.nn.gelu(x, approximate=False)  # noqa: E731
  ours = {
      "conv1": intermediates["conv1"]["__call__"][0],
      "align.encoder_level1": align["encoder_level1_1"]["__call__"][0],
      "align.alignment2": align["alignment2"]["__call__"][0][0],
      "align.alignment2::offset_feat": align["alignment2"]["__call__"][0][1],
      "align": align["__call__"][0],
      "back_projection1": intermediates["back_projection1"]["__call__"][0],
      "back_projection2": intermediates["back_projection2"]["__call__"][0],
  }
  for name, value in ours.items():
    expected = nhwc(reference[f"mid_f64/{name}"])
    value = value.reshape((-1,) + value.shape[-3:])
    if name.endswith("offset_feat"):
      expected = expected[1:]  # Offsets of the reference frame reach nothing, so we do not compute them.
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e-6 * np.abs(expected).max(), err_msg=name)
  with jax.enable_x64(True):
    rec_conv1 = np.asarray(gelu(jnp.asarray(intermediates["rec_conv1"]["__call__"][0])))
  expected = nhwc(reference["mid_f64/rec_conv1"])
  np.testing.assert_allclose(rec_conv1, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_gradients_are_those_of_the_published_network(reference, double_precision_run):
  gradients = double_precision_run[3]
  assert len(gradients) == 15
  for name, ours in gradients.items():
    expected = conv_kernel(reference[name])
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6 * np.abs(expected).max(), err_msg=name)


@pytest.mark.parametrize("num_frames, channels, count", [(4, 4, 3_112_530), (4, 8, 3_114_258), (8, 4, 3_130_962)])
def test_number_of_parameters(num_frames, channels, count):
  assert num_parameters(Burstormer(), (num_frames, 8, 8, channels)) == count


def test_leading_axes_are_bursts_of_their_own(light):
  """A batch gives the same numbers as one burst at a time, as leading axes and under vmap."""
  model, variables, apply = light
  bursts = jax.random.uniform(jax.random.key(1), (3, 4, 8, 8, 4))
  single = jnp.stack([apply(variables, burst) for burst in bursts])
  np.testing.assert_allclose(apply(variables, bursts), single, rtol=0, atol=1e-6)
  np.testing.assert_allclose(jax.jit(jax.vmap(model.apply, (None, 0)))(variables, bursts), single, rtol=0, atol=1e-6)
  assert jax.eval_shape(model.apply, variables, bursts[None]).shape == (1, 3, 8, 8, 4)


def test_every_weight_and_every_frame_has_a_gradient(light_gradients):
  """Also the offsets: a deformable convolution that stops their gradient trains, but never aligns."""
  gradients = light_gradients(jax.random.uniform(jax.random.key(1), (4, 8, 8, 4)))
  for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, path
  assert (np.abs(gradients[1]).max((1, 2, 3)) > 0).all()


def test_black_frames_have_finite_gradients(light_gradients):
  """All-zero frames give all-zero features, whose length has no slope (1 / 0 in a plain normalisation)."""
  gradients = light_gradients(jnp.zeros((4, 8, 8, 4)))
  assert all(np.isfinite(gradient).all() for gradient in jax.tree.leaves(gradients))


def test_fresh_weights_are_drawn_as_by_pytorch(light):
  """Kernels and biases uniform within 1 / sqrt(fan_in), norms and temperatures neutral, nothing drawn twice."""
  model, variables, _ = light
  params = variables["params"]
  for name, fan_in in (("alignment0/deform_kernel", 9), ("alignment0/deform_bias", 9), ("up1/kernel", 72),
                       ("down1/bias", 72), ("alignment0/offset_conv/kernel", 72),
                       ("encoder_level1_0/ffn/dwconv/kernel", 9), ("encoder_level1_0/attn/qk/kernel", 8)):
    weights = np.asarray(traverse_util.flatten_dict(params["align"], sep="/")[name])
    assert 0.7 < np.abs(weights).max() * fan_in ** 0.5 <= 1, name
    assert weights.min() < 0 < weights.max(), name
  block = params["align"]["encoder_level1_0"]
  assert (block["norm1"]["scale"] == 1).all() and (block["norm1"]["bias"] == 0).all()
  assert (block["attn"]["temperature"] == 1).all()
  kernels = [np.asarray(leaf).ravel()[:4] for leaf in jax.tree.leaves(params) if leaf.ndim == 4]
  assert len(np.unique(np.concatenate(kernels))) == 4 * len(kernels)
  again = model.init(jax.random.key(0), jnp.zeros((4, 8, 8, 4)))
  assert all(map(np.array_equal, jax.tree.leaves(variables), jax.tree.leaves(again)))


def test_frame_order_matters_and_frame_zero_is_the_base(light):
  """Frames are aligned to frame 0, each on its own: other frames may change places and stay what they are, frame 0 may
  not. The image then depends on every place."""
  model, variables, apply = light
  burst = jax.random.uniform(jax.random.key(1), (4, 8, 8, 4))
  both = jax.jit(lambda burst: model.apply(variables, burst, capture_intermediates=lambda m, _: m.name == "align"))
  aligned_of = lambda burst: both(burst)[1]["intermediates"]["align"]["__call__"][0]
  aligned, restored = aligned_of(burst), apply(variables, burst)
  for order in ([0, 2, 1, 3], [0, 1, 3, 2], [0, 3, 1, 2], [1, 0, 2, 3], [3, 1, 2, 0]):
    change = np.abs(aligned_of(burst[jnp.array(order)]) - aligned[jnp.array(order)]).max() / np.std(aligned)
    assert change < 1e-3 if order[0] == 0 else change > 0.01, order
    assert np.abs(apply(variables, burst[jnp.array(order)]) - restored).max() > 1e-3 * np.std(restored)


def test_what_aligns_a_frame_does_not_reach_the_base(light):
  """The reference frame passes the alignment as it is: how other frames are moved says nothing about it."""
  model, variables, _ = light
  burst = jax.random.uniform(jax.random.key(1), (4, 8, 8, 4))
  align = jax.jit(lambda burst: model.apply(variables, burst, capture_intermediates=lambda m, _: m.name == "align")[1])
  changes = [np.abs(a - b).max((1, 2, 3)) for a, b in zip(*[
      align(frames)["intermediates"]["align"]["__call__"] for frames in (burst, burst.at[2].multiply(0.5))])][0]
  assert changes[0] == changes[1] == changes[3] == 0 < changes[2]


def test_bfloat16_computes_in_bfloat16_and_returns_single_precision(light):
  """Features are bfloat16, what places samples and what is returned is not, and the image is close."""
  _, variables, apply = light
  burst = jax.random.uniform(jax.random.key(1), (4, 8, 8, 4))
  restored, state = jax.jit(lambda *args: _light(dtype="bfloat16").apply(*args, capture_intermediates=True))(
      variables, burst)
  assert restored.dtype == jnp.float32
  assert state["intermediates"]["align"]["__call__"][0].dtype == jnp.bfloat16
  expected = apply(variables, burst)
  np.testing.assert_allclose(restored, expected, atol=0.05 * np.abs(expected).max())


def test_positions_of_bfloat16_features_are_single_precision(light):
  _, variables, _ = light
  apply = lambda *args: _light(dtype="bfloat16").apply(*args)
  burst = jnp.zeros((4, 8, 8, 4))
  floors = [eqn for eqn in _equations(jax.make_jaxpr(apply)(variables, burst).jaxpr) if eqn.primitive.name == "floor"]
  assert floors and all(eqn.invars[0].aval.dtype == jnp.float32 for eqn in floors)


def _equations(jaxpr):
  """All equations, those of inner programs too."""
  for eqn in jaxpr.eqns:
    yield eqn
    for inner in jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")):
      if hasattr(inner, "eqns"):
        yield from _equations(getattr(inner, "jaxpr", inner))


@pytest.mark.parametrize("remat", ["blocks", "stages"])
def test_rematerialisation_stores_less(remat):
  """Between the forward and the backward pass, under the same names."""
  burst = jax.ShapeDtypeStruct((4, 8, 8, 4), jnp.float32)
  plain, model = light_burstormer(), light_burstormer(remat=remat)
  variables = jax.eval_shape(plain.init, jax.random.key(0), burst)
  assert stored_bytes(model, variables, burst) < 0.7 * stored_bytes(plain, variables, burst)


@pytest.mark.slow
@pytest.mark.parametrize("remat", ["blocks", "stages"])
def test_rematerialisation_gives_the_same_numbers(light, light_gradients, remat):
  _, variables, _ = light
  burst = jax.random.uniform(jax.random.key(1), (4, 8, 8, 4))
  model = _light(remat=remat)
  gradients = jax.jit(jax.grad(lambda *args: jnp.sum(model.apply(*args)), (0, 1)))(variables, burst)
  for ours, expected in zip(jax.tree.leaves(gradients), jax.tree.leaves(light_gradients(burst)), strict=True):
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def stored_bytes(model, variables, burst):
  """Size of all that the backward pass needs of the forward pass."""
  backward = jax.eval_shape(lambda variables, burst: jax.vjp(lambda v: model.apply(v, burst), variables)[1],
                            variables, burst)
  return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))


def test_global_skip_starts_at_the_base_frame_and_adds_it(light):
  """Fresh weights return it; other weights add it to what they give without."""
  _, variables, apply = light
  burst = jax.random.uniform(jax.random.key(1), (4, 8, 8, 4))
  model = _light(global_skip=True)
  np.testing.assert_array_equal(jax.jit(model.apply)(model.init(jax.random.key(0), burst), burst), burst[0])
  np.testing.assert_allclose(jax.jit(model.apply)(variables, burst), apply(variables, burst) + burst[0], atol=1e-6)


@pytest.mark.parametrize("model, shape, message", [
    (_light(), (3, 8, 8, 4), "even, got 3"),
    (_light(), (4, 8, 10, 4), "multiples of 4, got 8 x 10"),
    (_light(), (8, 8, 4), "burst"),
    (_light(num_features=12), (4, 8, 8, 4), "multiple of 8, got 12"),
    (_light(), (0, 4, 8, 8, 4), "not empty"),
    (_light(dtype="float16"), (4, 8, 8, 4), "dtype must be .*'float16'"),
    (_light(remat="all"), (4, 8, 8, 4), "remat .*'all'"),
])
def test_what_the_network_cannot_take_is_refused(model, shape, message):
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))


def test_weights_for_another_number_of_frames_are_refused(light):
  model, variables, _ = light
  with pytest.raises(ValueError, match="bursts of 4 frames, got 6"):
    jax.eval_shape(model.apply, variables, jnp.zeros((6, 8, 8, 4)))


def test_identity_alignment_starts_with_deformable_convolutions_that_hand_frames_on():
  """With masks of 1/2 and no offsets the fresh kernel gives back its input, and all other weights stay as drawn."""
  burst = jnp.zeros((4, 8, 8, 4))
  plain, aligned = [_light(deform_groups=2, identity_alignment=on).init(jax.random.key(0), burst)["params"]
                    for on in (False, True)]
  cascade = aligned["align"]["cascade_alignment"]
  x = jax.random.normal(jax.random.key(1), (8, 8, 8))
  out = deform_conv2d(x, jnp.zeros((8, 8, 36)), jnp.full((8, 8, 18), 0.5), cascade["deform_kernel"],
                      cascade["deform_bias"])
  np.testing.assert_allclose(out, x, atol=1e-6)
  np.testing.assert_array_equal(plain["conv1"]["kernel"], aligned["conv1"]["kernel"])


def test_init_takes_keys_as_flax_does():
  """A key and a dictionary with that key give the same weights."""
  burst = jnp.zeros((2, 8, 8, 4))
  plain, named = _light().init(jax.random.key(3), burst), _light().init(
      {"params": jax.random.key(3)}, burst)
  jax.tree.map(np.testing.assert_array_equal, plain, named)
