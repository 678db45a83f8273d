"""Weights of published PyTorch models -> Flax variables. Names and shapes are checked against the network, one by
one."""

from debir_jax.convert.baenet import baenet_config, baenet_params, baenet_path
from debir_jax.convert.burstormer import burstormer_config, burstormer_params, burstormer_path
from debir_jax.convert.ifnet import ifnet_params
from debir_jax.convert.lpips import lpips_network, lpips_params
from debir_jax.convert.parts import plain_names, split_parts
from debir_jax.convert.raft import raft_params, raft_size
from debir_jax.convert.state_dict import conv_kernel
from debir_jax.convert.torch_files import read_state_dict

__all__ = [
    "baenet_config", "baenet_params", "baenet_path", "burstormer_config", "burstormer_params", "burstormer_path",
    "conv_kernel", "ifnet_params", "lpips_network", "lpips_params", "plain_names", "raft_params", "raft_size",
    "read_state_dict", "split_parts"]
