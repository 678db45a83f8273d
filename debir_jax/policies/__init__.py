"""Which exposure times? One file per method behind one Protocol, `Policy`."""

from debir_jax.policies.active_sl import ActiveSL, pair_loss, pair_set
from debir_jax.policies.average_ae import AverageAE
from debir_jax.policies.baenet import BAENet, BAENetPolicy, init_baenet
from debir_jax.policies.bounded_softmax import bounded_softmax, exposure_times_from_shares, predict_exposure_times
from debir_jax.policies.burst_size import BurstSizeBAENet, burst_cost, check_burst_sizes
from debir_jax.policies.digital_gimbal import DigitalGimbal
from debir_jax.policies.fixed import (
    CandidateSet,
    Fixed,
    bracket,
    candidate_set,
    check_exposure_times,
    first_frames,
    format_exposure_times,
    random_exposure_times,
    uniform,
)
from debir_jax.policies.gradient_ae import GradientAE
from debir_jax.policies.mobilenet_v2 import BLOCKS, LIGHT_BLOCKS, MobileNetV2
from debir_jax.policies.motion_metering import MotionMetering
from debir_jax.policies.oracle import OracleResult, search_exposure_times
from debir_jax.policies.policy import (
    FULL_SCALE_PX_PER_S,
    Policy,
    develop_previews,
    is_pytree,
    network_planes,
    num_planes,
    observe,
)

__all__ = [
    "ActiveSL", "AverageAE", "BAENet", "BAENetPolicy", "BLOCKS", "bounded_softmax", "bracket", "burst_cost",
    "BurstSizeBAENet", "candidate_set", "CandidateSet", "check_burst_sizes", "check_exposure_times", "develop_previews",
    "DigitalGimbal", "exposure_times_from_shares", "first_frames", "Fixed", "format_exposure_times",
    "FULL_SCALE_PX_PER_S", "GradientAE", "init_baenet", "is_pytree", "LIGHT_BLOCKS", "MobileNetV2", "MotionMetering",
    "network_planes", "num_planes", "observe", "OracleResult", "pair_loss", "pair_set", "Policy",
    "predict_exposure_times", "random_exposure_times", "search_exposure_times", "uniform"]
