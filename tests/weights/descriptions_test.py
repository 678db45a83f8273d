"""Descriptions of networks: a weight file tells all that is wanted to build its network again, and nothing else."""

import json

import jax.numpy as jnp
import pytest

from debir_jax.motion import LucasKanade, MotionEstimator, Raft
from debir_jax.policies import (
  LIGHT_BLOCKS,
  ActiveSL,
  BaeInputs,
  BAENet,
  BurstPenalty,
  BurstSizeBAENet,
  DigitalGimbal,
)
from debir_jax.restoration import AlignedUNet, Burstormer, RestorerInputs
from debir_jax.simulator import CaptureSetup, IsoNoise, PaperNoise, PoissonGaussianNoise
from debir_jax.types import BurstTiming
from debir_jax.weights.descriptions import (
  build_conditions,
  build_motion,
  build_predictor,
  build_restorer,
  describe_conditions,
  describe_motion,
  describe_predictor,
  describe_restorer,
  with_defaults,
)

RESTORERS = dict(
    default=(Burstormer(), RestorerInputs()),
    small=(Burstormer(num_features=16, out_channels=3, blocks_per_level=0, fusion_blocks=0, deform_groups=1,
                      global_skip=True), RestorerInputs(noise_map=True)),
    levels=(Burstormer(blocks_per_level=(1, 3)),
            RestorerInputs(noise_map=True, validity=True, relative_exposure=True, frame_mask=True)))
PREDICTORS = dict(
    baenet=(BAENet(), BaeInputs(min_preview_gain=512.0)),
    uniform=(BAENet(num_frames=6, width=0.5, norm="group", uniform_exposure=True),
             BaeInputs(min_preview_gain=512.0, use_preview=False)),
    light=(BAENet(blocks=LIGHT_BLOCKS, slack_floor=True), BaeInputs(min_preview_gain=512.0, preview="linear_srgb")),
    blocks=(BAENet(blocks=((1, 16, 1, 1), (6, 24, 2, 2))), BaeInputs(min_preview_gain=512.0, use_motion=False)),
    digital_gimbal=(DigitalGimbal(num_frames=2, slack_floor=True), BaeInputs(min_preview_gain=512.0, use_gain=False)),
    burst_size=(BurstSizeBAENet(num_frames=6, burst_sizes=(2, 6), burst_size=2,
                                penalties=BurstPenalty(exposure_time=0.1, frame=0.02)),
                BaeInputs(min_preview_gain=512.0)),
    active_sl=(ActiveSL(num_pairs=9, width=0.25), BaeInputs(min_preview_gain=512.0)))
# What a file says of each network, beside name and inputs; all else is of training alone.
RESTORER_FIELDS = {"num_features", "out_channels", "blocks_per_level", "fusion_blocks", "deform_groups", "global_skip"}
BAENET_FIELDS = {"num_frames", "width", "norm", "blocks", "uniform_exposure", "slack_floor"}
PREDICTOR_FIELDS = dict(
    baenet=BAENET_FIELDS, uniform=BAENET_FIELDS, light=BAENET_FIELDS, blocks=BAENET_FIELDS,
    digital_gimbal={"num_frames", "slack_floor"}, active_sl=BAENET_FIELDS | {"num_pairs"},
    burst_size=BAENET_FIELDS | {"burst_sizes", "burst_size", "penalties"})
TRAINING_ONLY = dict(dropout_rate=0.5, classifier_scale=0.0, axis_name="devices")

_each_restorer = pytest.mark.parametrize("name", RESTORERS)
_each_predictor = pytest.mark.parametrize("name", PREDICTORS)


def _through_json(description):
  """As it comes back from a file: JSON, in which tuples are lists."""
  return json.loads(json.dumps(description))


@_each_restorer
def test_a_restorer_is_built_again_from_its_description(name):
  """With what it sees; every field is JSON."""
  restorer, inputs = RESTORERS[name]
  description = _through_json(describe_restorer(restorer, inputs))
  built = build_restorer(description)
  assert built == (restorer, inputs) and hash(built[0]) == hash(restorer)
  assert _through_json(describe_restorer(*built)) == description


def test_a_restorer_of_aligned_frames_is_built_again():
  """As all others; the type it computes in is no part of it."""
  restorer, inputs = AlignedUNet(num_features=16, blocks_per_level=1), RestorerInputs(aligned=True)
  description = _through_json(describe_restorer(restorer.clone(dtype="bfloat16"), inputs))
  assert description.pop("inputs")["aligned"]
  assert description == dict(name="aligned_unet", num_features=16, blocks_per_level=1)
  assert build_restorer(description | dict(inputs=dict(aligned=True))) == (restorer, inputs)


def test_one_number_of_blocks_for_both_levels_is_the_same_network_as_two():
  """Equal, compiled once, and described alike, so that neither's checkpoint is refused by the other."""
  one, two = Burstormer(blocks_per_level=1), Burstormer(blocks_per_level=(1, 1))
  assert one == two and hash(one) == hash(two)
  assert describe_restorer(one, RestorerInputs()) == describe_restorer(two, RestorerInputs())
  older = dict(architecture=describe_restorer(two, RestorerInputs()) | dict(blocks_per_level=1), trained_for={})
  assert with_defaults("restoration", older)["architecture"] == describe_restorer(two, RestorerInputs())


@_each_predictor
def test_a_predictor_is_built_again_from_its_description(name):
  """With what it sees, but for the gain, which belongs to what it was trained for."""
  module, inputs = PREDICTORS[name]
  description = _through_json(describe_predictor(module, inputs))
  built = build_predictor(description, 512.0)
  assert built == (module, inputs) and type(built[0]) is type(module) and hash(built[0]) == hash(module)
  assert _through_json(describe_predictor(*built)) == description
  assert "min_preview_gain" not in description["inputs"]


@_each_restorer
def test_options_of_a_restorer_s_training_are_not_described(name):
  """How it starts and how it is computed; two that differ in these alone are the same network."""
  restorer, inputs = RESTORERS[name]
  trained = restorer.clone(identity_alignment=True, dtype="bfloat16", remat="blocks")
  description = describe_restorer(trained, inputs)
  assert description == describe_restorer(restorer, inputs)
  assert set(description) == RESTORER_FIELDS | {"name", "inputs"} and description["name"] == "burstormer"
  assert build_restorer(_through_json(description))[0] == restorer


@_each_predictor
def test_options_of_a_predictor_s_training_are_not_described(name):
  """Dropout, first weights, devices."""
  module, inputs = PREDICTORS[name]
  known = {field: value for field, value in TRAINING_ONLY.items() if hasattr(module, field)}
  assert bool(known) == (name != "digital_gimbal")
  description = describe_predictor(module.clone(**known), inputs)
  assert description == describe_predictor(module, inputs)
  assert set(description) == PREDICTOR_FIELDS[name] | {"name", "inputs"}
  assert build_predictor(_through_json(description), 512.0)[0] == module


def test_tables_of_blocks_are_described_by_name_where_they_have_one():
  described = {name: describe_predictor(*PREDICTORS[name])["blocks"] for name in ("baenet", "light", "blocks")}
  assert described == dict(baenet="mobilenet_v2", light="light", blocks=[[1, 16, 1, 1], [6, 24, 2, 2]])


@_each_restorer
def test_fields_that_a_restorer_s_file_lacks_have_their_defaults(name):
  """A file from before a field was added describes the network that there was: what the field's default makes."""
  restorer, inputs = RESTORERS[name]
  description = _through_json(describe_restorer(restorer, inputs))
  for field in RESTORER_FIELDS:
    older = {other: value for other, value in description.items() if other != field}
    assert build_restorer(older)[0] == restorer.clone(**{field: getattr(Burstormer, field)})
  assert build_restorer(dict(name="burstormer")) == (Burstormer(), RestorerInputs())
  assert build_restorer(description | dict(inputs=dict(validity=True)))[1] == RestorerInputs(validity=True)


@_each_predictor
def test_fields_that_a_predictor_s_file_lacks_have_their_defaults(name):
  """The same for BAENet and what takes its place."""
  module, inputs = PREDICTORS[name]
  description = _through_json(describe_predictor(module, inputs))
  for field in PREDICTOR_FIELDS[name]:
    older = {other: value for other, value in description.items() if other != field}
    assert build_predictor(older, 512.0)[0] == module.clone(**{field: getattr(type(module), field)})
  bare = dict(name=description["name"])
  assert build_predictor(bare, 700.0) == (type(module)(), BaeInputs(min_preview_gain=700.0))


def test_descriptions_are_filled_with_the_defaults_of_later_fields():
  """So that files from before a field can be compared with a run that knows it."""
  of_restorer = dict(architecture=dict(name="burstormer", num_features=16), trained_for=dict(noise="iso"))
  filled = with_defaults("restoration", of_restorer)
  assert filled == of_restorer | dict(architecture=describe_restorer(Burstormer(num_features=16), RestorerInputs()))
  of_bae = dict(architecture=dict(name="digital_gimbal"), trained_for=dict(min_preview_gain=512.0))
  assert with_defaults("bae", of_bae)["architecture"] == describe_predictor(DigitalGimbal(), PREDICTORS["baenet"][1])
  foreign = dict(architecture=dict(name="MyNetwork", depth=3), trained_for={})
  assert with_defaults("restoration", foreign) == foreign and with_defaults("bae", foreign) == foreign


@pytest.mark.parametrize("build, message", (
    (lambda: build_restorer(dict(name="burstormer", num_wings=2)), "Burstormer by num_wings"),
    (lambda: build_restorer(dict(name="burstormer", inputs=dict(depth_map=True))), "RestorerInputs by depth_map"),
    (lambda: build_predictor(dict(name="baenet", wings=1, arms=2), 512.0), "BAENet by arms, wings"),
    (lambda: build_predictor(dict(name="baenet", inputs=dict(use_sound=True)), 512.0), "BaeInputs by use_sound"),
    (lambda: build_predictor(dict(name="burst_size", penalties=dict(energy=0.1)), 512.0), "BurstPenalty by energy"),
    (lambda: build_conditions(dict(timing=dict(num_moons=2), noise="iso")), "BurstTiming by num_moons")),
    ids=("restorer", "its inputs", "predictor", "its inputs ", "penalties", "timing"))
def test_fields_that_this_version_does_not_know_are_an_error(build, message):
  """They come from a newer version, and what they mean nobody knows: update."""
  with pytest.raises(ValueError, match=f"{message}, which this version of debir_jax does not know. Update the package"):
    build()


@pytest.mark.parametrize("build", (
    lambda architecture: build_restorer(architecture), lambda architecture: build_predictor(architecture, 512.0)),
    ids=("restorer", "predictor"))
def test_networks_that_this_version_does_not_have_are_an_error(build):
  """With their name, those that there are, and both remedies."""
  known = r"\((burstormer, aligned_unet|baenet, digital_gimbal, burst_size, active_sl)\)"
  with pytest.raises(ValueError, match=f"'novel' .* none of this .*{known}. Update the package, or pass the network"):
    build(dict(name="novel", depth=3))


def test_a_restorer_of_one_s_own_is_described_as_far_as_it_is_json():
  """By the name of its class, so that weights of two networks are not confused."""
  class MyRestorer:
    def apply(self, variables, frames):
      return variables["params"]["scale"] * frames[..., 0, :, :, :]

  description = describe_restorer(MyRestorer(), RestorerInputs(noise_map=True))
  assert description["name"] == "MyRestorer" and description["inputs"]["noise_map"]
  assert json.dumps(description)
  with pytest.raises(ValueError, match="'MyRestorer'"):
    build_restorer(description)


@pytest.mark.parametrize("timing", (BurstTiming.paper(8), BurstTiming.release()), ids=("paper", "release"))
@pytest.mark.parametrize("noise, model", (("iso", IsoNoise()), ("paper", PaperNoise()),
                                          ("poisson_gaussian", PoissonGaussianNoise())))
def test_conditions_are_built_again_from_their_description(timing, noise, model):
  """Timing and noise by their numbers and name; gains and burst sizes stand beside them."""
  setup = CaptureSetup(timing=timing, noise_model=model, min_preview_gain=512.0, max_preview_gain=900.0)
  description = _through_json(describe_conditions(setup, (2, 4)))
  assert build_conditions(description) == (timing, model)
  assert (description["noise"], description["min_preview_gain"], description["max_preview_gain"],
          description["burst_sizes"]) == (noise, 512.0, 900.0, [2, 4])
  assert set(description) == {"timing", "noise", "min_preview_gain", "max_preview_gain", "black_level", "burst_sizes"}


def test_a_noise_of_one_s_own_is_described_by_its_name_alone():
  """A front door that builds from it knows the timing, but no noise."""
  class MyNoise:
    def variance(self, signal, gain):
      return 0 * signal + gain

  setup = CaptureSetup(timing=BurstTiming.paper(), noise_model=MyNoise(), min_preview_gain=1.0, max_preview_gain=2.0)
  description = _through_json(describe_conditions(setup))
  assert description["noise"] == "MyNoise" and build_conditions(description) == (BurstTiming.paper(), None)


@pytest.mark.parametrize("estimator", (LucasKanade(), Raft("small"), Raft("large")), ids=lambda found: found.name)
def test_motion_is_built_again_from_its_description_and_its_weights(estimator):
  """Of the weights a fingerprint is part of the description."""
  variables = {} if estimator == LucasKanade() else {"params": {"kernel": jnp.ones(2)}}
  motion = MotionEstimator(estimator=estimator, variables=variables, full_scale_px_per_s=123.0)
  description = _through_json(describe_motion(motion))
  assert (description["estimator"], description["full_scale_px_per_s"]) == (estimator.name, 123.0)
  assert ("weights" in description) == bool(variables)
  built = build_motion(description, variables)
  assert (built.estimator, built.full_scale_px_per_s) == (estimator, 123.0) and built.variables is variables


def test_weights_of_an_estimator_that_were_exchanged_are_noticed():
  """BAENet would see another motion than it was trained with; a description from before that knew it goes through."""
  motion = MotionEstimator(estimator=Raft("small"), variables={"params": {"kernel": jnp.ones(2)}})
  description = _through_json(describe_motion(motion))
  others = {"params": {"kernel": jnp.ones(2).at[0].set(1.0001)}}
  with pytest.raises(ValueError, match="weights of raft_small are others than those that the network was trained with"):
    build_motion(description, others)
  description.pop("weights")
  build_motion(description, others)


def test_an_estimator_that_this_version_does_not_have_is_an_error():
  with pytest.raises(ValueError, match="measured by 'radar', which this version .* it has lucas_kanade, raft_small"):
    build_motion(dict(estimator="radar", full_scale_px_per_s=1.0), {})
