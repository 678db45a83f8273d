"""Weights of published PyTorch models -> Flax variables. Names and shapes are checked against the network, one by one."""

from debir_jax.convert.burstormer import burstormer_config, burstormer_params, burstormer_path
from debir_jax.convert.raft import raft_params, raft_size
from debir_jax.convert.state_dict import conv_kernel

__all__ = ["burstormer_config", "burstormer_params", "burstormer_path", "conv_kernel", "raft_params", "raft_size"]
