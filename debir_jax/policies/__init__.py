"""Which exposure times? One file per method behind one Protocol, `Policy`."""

from debir_jax.policies.active_sl import ActiveSL, pair_set
from debir_jax.policies.average_ae import AverageAE
from debir_jax.policies.bae_inputs import BaeInputs
from debir_jax.policies.baenet import BAENet, BAENetPolicy, init_baenet
from debir_jax.policies.bounded_softmax import bounded_softmax, exposure_times_from_shares, predict_exposure_times
from debir_jax.policies.burst_size import BurstPenalty, BurstSizeBAENet, check_burst_sizes
from debir_jax.policies.digital_gimbal import DigitalGimbal
from debir_jax.policies.exposure_predictor import ExposurePredictor
from debir_jax.policies.fixed import (
    CandidateSet,
    Fixed,
    bracket,
    candidate_set,
    check_exposure_times,
    format_exposure_times,
    random_exposure_times,
    uniform,
)
from debir_jax.policies.gradient_ae import GradientAE
from debir_jax.policies.mobilenet_v2 import BLOCKS, LIGHT_BLOCKS, MobileNetV2
from debir_jax.policies.motion_metering import MotionMetering
from debir_jax.policies.oracle import OracleResult, search_exposure_times
from debir_jax.policies.policy import Policy, check_previews, is_pytree, observe

__all__ = [
    "ActiveSL", "AverageAE", "BAENet", "BAENetPolicy", "BLOCKS", "BaeInputs", "BurstPenalty", "BurstSizeBAENet",
    "CandidateSet", "DigitalGimbal", "ExposurePredictor", "Fixed", "GradientAE", "LIGHT_BLOCKS", "MobileNetV2",
    "MotionMetering", "OracleResult", "Policy", "bounded_softmax", "bracket", "candidate_set", "check_burst_sizes",
    "check_exposure_times", "check_previews", "exposure_times_from_shares", "format_exposure_times", "init_baenet",
    "is_pytree", "observe", "pair_set", "predict_exposure_times", "random_exposure_times", "search_exposure_times",
    "uniform"]
