"""Which exposure times? One file per method behind one Protocol, `Policy`."""

from debir_jax.policies.active_sl import ActiveSL
from debir_jax.policies.active_sl import pair_loss
from debir_jax.policies.active_sl import pair_set
from debir_jax.policies.average_ae import AverageAE
from debir_jax.policies.baenet import BAENet
from debir_jax.policies.baenet import BAENetPolicy
from debir_jax.policies.baenet import init_baenet
from debir_jax.policies.bounded_softmax import bounded_softmax
from debir_jax.policies.bounded_softmax import exposure_times_from_shares
from debir_jax.policies.bounded_softmax import predict_exposure_times
from debir_jax.policies.burst_size import burst_cost
from debir_jax.policies.burst_size import BurstSizeBAENet
from debir_jax.policies.burst_size import check_burst_sizes
from debir_jax.policies.digital_gimbal import DigitalGimbal
from debir_jax.policies.fixed import bracket
from debir_jax.policies.fixed import candidate_set
from debir_jax.policies.fixed import CandidateSet
from debir_jax.policies.fixed import check_exposure_times
from debir_jax.policies.fixed import first_frames
from debir_jax.policies.fixed import Fixed
from debir_jax.policies.fixed import format_exposure_times
from debir_jax.policies.fixed import random_exposure_times
from debir_jax.policies.fixed import uniform
from debir_jax.policies.gradient_ae import GradientAE
from debir_jax.policies.mobilenet_v2 import BLOCKS
from debir_jax.policies.mobilenet_v2 import LIGHT_BLOCKS
from debir_jax.policies.mobilenet_v2 import MobileNetV2
from debir_jax.policies.motion_metering import MotionMetering
from debir_jax.policies.oracle import OracleResult
from debir_jax.policies.oracle import search_exposure_times
from debir_jax.policies.policy import develop_previews
from debir_jax.policies.policy import FULL_SCALE_PX_PER_S
from debir_jax.policies.policy import is_pytree
from debir_jax.policies.policy import network_planes
from debir_jax.policies.policy import num_planes
from debir_jax.policies.policy import observe
from debir_jax.policies.policy import Policy

__all__ = [
    "ActiveSL", "AverageAE", "BAENet", "BAENetPolicy", "BLOCKS", "bounded_softmax", "bracket", "burst_cost",
    "BurstSizeBAENet", "candidate_set", "CandidateSet", "check_burst_sizes", "check_exposure_times", "develop_previews",
    "DigitalGimbal", "exposure_times_from_shares", "first_frames", "Fixed", "format_exposure_times",
    "FULL_SCALE_PX_PER_S", "GradientAE", "init_baenet", "is_pytree", "LIGHT_BLOCKS", "MobileNetV2", "MotionMetering",
    "network_planes", "num_planes", "observe", "OracleResult", "pair_loss", "pair_set", "Policy",
    "predict_exposure_times", "random_exposure_times", "search_exposure_times", "uniform"]
