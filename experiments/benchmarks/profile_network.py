"""Where does the time of our Burstormer go? Times its parts one by one: a profile, not a guess.

  python experiments/benchmarks/profile_network.py                        # all parts; 4 frames of 128x128, 48 features
  python experiments/benchmarks/profile_network.py --part ffn --size 64   # one part
  python experiments/benchmarks/profile_network.py --part all network     # shares of the whole network, also measured

Every part runs alone, compiled, on features of four frames, forward and with the gradients of its input and weights.
`count` says how often the network for four frames has it; on fewer frames, or at half the size, it counts by its share
of the pixels. Share = count x wall time, of the whole network where that is measured, else of blocks, convolutions and
the deformable convolution together. A block is attention, ffn and two additions, both with their norm; a fusion is two
wide blocks and three convolutions: do not add a part to what contains it.

Where PyTorch is installed, the same modules of `torch_networks.py` run part by part after ours, eager, `channels_last`,
in a process of their own that binds its threads to cores: otherwise they were seen to share one, 25 times slower.
Times are minima over the repeats: wall time, and processor time of all threads, which is steadier on a busy machine.
"""

import argparse
from collections.abc import Callable
import functools
import importlib.util
import multiprocessing
import os
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
from timing import best_times

from debir_jax.kernels import flat_attention
from debir_jax.kernels.dense import gelu
from debir_jax.restoration import Burstormer, attention, deform_conv2d
from debir_jax.restoration.fusion import BurstFeatureFusion
from debir_jax.restoration.layers import Conv3x3
from debir_jax.runtime.platform import prepare_memory

_FRAMES = 4
_MOVES, _NUM_OFFSETS = 216, 144  # Channels of offsets and mask, and of offsets alone.

# How many passes over all frames at full size the network makes, counted in pixels.
_FUSIONS = 2 + 1 / 4 + 1 / 16 + 1 + 1 / 2  # Full size and cascade, half, quarter; two without a reference.
_WIDE_BLOCKS = 2 * _FUSIONS
_NARROW_BLOCKS = 2 + 2 / 4  # At full and at half size.
_ALIGNMENTS = (_FRAMES - 1) / _FRAMES * (2 + 1 / 4 + 1 / 16)  # Not of the reference frame.
_BOTTLENECKS = _ALIGNMENTS + (_FRAMES - 1) / _FRAMES * (2 + 1 / 4)  # The coarsest scale has one, the others two.


class Part(NamedTuple):
  """A part of the network: `ours()` gives a function of (variables, x) and variables, `torch(torch_networks)` a module.

  Both map the same, ours `[N, H, W, inputs]`, N frames, or `[B, n, H, W, inputs]` for the whole network.
  """

  group: str
  label: str
  inputs: int
  count: float
  ours: Callable[[], tuple[Callable, Any]]
  torch: Callable[[Any], Any]


def _block(width: int, half: str | None = None) -> tuple[Callable, Any]:
  """A block of attention, or a half of it, "attn" or "ffn", that begins with its norm, or the "norm" alone."""
  block = attention.BurstFeatureAttention()
  variables = block.init(jax.random.key(1), jnp.zeros((1, 8, 8, width)))
  if half is None:
    return block.apply, variables
  params = variables["params"]
  norm = [params["norm1"][leaf] for leaf in ("scale", "bias")]
  if half == "norm":
    return lambda norm, x: attention.layer_norm(x, *norm), norm
  weights = params[half].items()
  weights = {name: layer["kernel"] if isinstance(layer, dict) else layer for name, layer in weights}
  weights = {name: array[0, 0] if array.ndim == 4 and array.shape[0] == 1 else array for name, array in weights.items()}
  if half == "attn":
    weights = attention.AttentionWeights(*norm, **weights)
    plain, flat = attention.attend, flat_attention.attend
  else:
    weights = attention.FeedForwardWeights(*norm, **weights)
    plain, flat = attention.feed_forward, flat_attention.feed_forward
  return lambda weights, x: lax.platform_dependent(x, weights, cpu=flat, default=plain), weights


def _attention_parts(width: int, blocks: float) -> list[Part]:
  ours = functools.partial(_block, width)
  return [
      Part("ffn", f"norm, ffn {width}", width, blocks, lambda: ours("ffn"),
           lambda t: t.nn.Sequential(t.LayerNorm(width), t.GatedFeedForward(width))),
      Part("attention", f"norm, attention {width}", width, blocks, lambda: ours("attn"),
           lambda t: t.nn.Sequential(t.LayerNorm(width), t.ChannelAttention(width, 1))),
      Part("layernorm", f"norm {width}", width, 2 * blocks, lambda: ours("norm"), lambda t: t.LayerNorm(width)),
      Part("block", f"block {width}", width, blocks, ours, lambda t: t.BurstFeatureAttention(width))]


class _ConvGelu(nn.Module):
  """3x3 convolution and GELU, as they stand together in alignment and fusion."""

  features: int

  @nn.compact
  def __call__(self, x):
    return gelu(Conv3x3(self.features)(x))


class _Deform(nn.Module):
  """Deformable convolution; the input holds offsets and mask behind the features."""

  features: int

  @nn.compact
  def __call__(self, x):
    x, offsets, mask = jnp.split(x, (self.features, self.features + _NUM_OFFSETS), -1)
    kernel = self.param("kernel", nn.initializers.lecun_normal(), (3, 3, self.features // 8, self.features))
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    return deform_conv2d(x, offsets, jax.nn.sigmoid(mask), kernel, bias)


def _torch_conv(networks, inputs, outputs, *, activation=True):
  conv = networks.nn.Conv2d(inputs, outputs, 3, padding=1, bias=activation)
  return networks.nn.Sequential(conv, networks.nn.GELU()) if activation else conv


def _torch_deform(networks, features):

  class Deform(networks.nn.Module):

    def __init__(self):
      super().__init__()
      self.deform = networks.DeformConv(features)

    def forward(self, x):
      x, offsets, mask = x.split([features, _NUM_OFFSETS, _MOVES - _NUM_OFFSETS], 1)
      return self.deform(x, offsets, mask.sigmoid())

  return Deform()


def _module_part(group, label, inputs, count, module, torch, frames=(4,)) -> Part:
  def ours():
    return module.apply, module.init(jax.random.key(1), jnp.zeros((*frames, 8, 8, inputs)))

  return Part(group, label, inputs, count, ours, torch)


def parts_of(features: int) -> list[Part]:
  """All parts, smaller ones first."""
  wide = 2 * features
  return [
      *_attention_parts(features, _NARROW_BLOCKS), *_attention_parts(wide, _WIDE_BLOCKS),
      _module_part("conv", f"conv {wide} -> {features}, gelu", wide, 2 * _FUSIONS + _BOTTLENECKS, _ConvGelu(features),
                   lambda t: _torch_conv(t, wide, features)),
      _module_part("conv", f"conv {features} -> {wide}, gelu", features, _FUSIONS, _ConvGelu(wide),
                   lambda t: _torch_conv(t, features, wide)),
      _module_part("conv", f"conv {features} -> {_MOVES}", features, _ALIGNMENTS, Conv3x3(_MOVES, use_bias=False),
                   lambda t: _torch_conv(t, features, _MOVES, activation=False)),
      _module_part("deform", "deformable conv", features + _MOVES, _ALIGNMENTS, _Deform(features),
                   lambda t: _torch_deform(t, features)),
      _module_part("fusion", "fusion", wide, _FUSIONS, BurstFeatureFusion(),
                   lambda t: t.BurstFeatureFusion(features, 1)),
      _module_part("network", "network", 4, 1, Burstormer(features), lambda t: t.Burstormer(features, _FRAMES),
                   frames=(1, _FRAMES))]


def features_for(part: Part, args: argparse.Namespace) -> np.ndarray:
  """Random input of a part, channels last."""
  frames = (args.batch, _FRAMES) if part.group == "network" else (args.batch * _FRAMES,)
  shape = (*frames, args.size, args.size, part.inputs)
  return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def our_programs(part: Part, x: np.ndarray) -> dict[str, Callable[[], None]]:
  """What runs forward, and forward and backward, once; compiled here."""
  apply, variables = part.ours()
  x = jnp.asarray(x)
  forward = jax.jit(apply).lower(variables, x).compile()
  cotangent = jnp.ones_like(forward(variables, x))

  def both(variables, x, cotangent):
    out, transpose = jax.vjp(apply, variables, x)
    return out, transpose(cotangent)

  backward = jax.jit(both).lower(variables, x, cotangent).compile()
  return {"forward": lambda: jax.block_until_ready(forward(variables, x)),
          "backward": lambda: jax.block_until_ready(backward(variables, x, cotangent))}


def torch_programs(part: Part, x: np.ndarray) -> dict[str, Callable[[], None]]:
  """The same in PyTorch."""
  import torch
  import torch_networks

  torch.set_num_threads(os.cpu_count())
  module = part.torch(torch_networks).to(memory_format=torch.channels_last)
  x = torch.from_numpy(np.moveaxis(x, -1, -3))  # Still with the channels of a pixel side by side.
  inputs = [x.requires_grad_(), *module.parameters()]

  def forward():
    with torch.inference_mode():
      module(x)

  def backward():
    out = module(x)
    torch.autograd.grad(out, inputs, torch.ones_like(out))

  return {"forward": forward, "backward": backward}


def _prepare_torch_process():
  os.environ.setdefault("OMP_PROC_BIND", "true")  # Read when PyTorch is imported.
  prepare_memory()


def measure(library: str, label: str, args: argparse.Namespace) -> dict[str, tuple[float, float]]:
  """Times of one part, "ours forward" and so on; of PyTorch, to be called in a process without JAX at work."""
  part = next(part for part in parts_of(args.features) if part.label == label)
  make_programs = our_programs if library == "ours" else torch_programs
  programs = make_programs(part, features_for(part, args))
  best_ms = lambda program: tuple(1e3 * seconds for seconds in best_times(program, args.repeats))
  return {f"{library} {name}": best_ms(program) for name, program in programs.items()}


def print_table(rows: list[tuple[Part, dict]], pass_name: str, libraries: list[str]):
  """One line a part; ratios are wall time of PyTorch by ours."""
  whole = {library: sum(part.count * times[f"{library} {pass_name}"][0] for part, times in rows
                        if part.group == "network") or
                    sum(part.count * times[f"{library} {pass_name}"][0] for part, times in rows
                        if part.group in ("block", "conv", "deform")) for library in libraries}
  title = {"forward": "forward", "backward": "forward and backward"}[pass_name]
  print(f"\n{title}, ms\n{'part':22s}{'count':>7s}" + "".join(
      f"{library + ' wall':>13s}{'cpu':>9s}{'x count':>9s}{'share':>7s}" for library in libraries) +
        ("  torch/ours" if len(libraries) > 1 else ""))
  for part, times in rows:
    line = f"{part.label:22s}{part.count:7.2f}"
    for library in libraries:
      wall, processor = times[f"{library} {pass_name}"]
      share = f"{part.count * wall / whole[library]:7.0%}" if whole[library] else "      -"
      line += f"{wall:13.1f}{processor:9.1f}{part.count * wall:9.0f}{share}"
    if len(libraries) > 1:
      line += f"{times[f'torch {pass_name}'][0] / times[f'ours {pass_name}'][0]:12.2f}"
    print(line)


def main():
  groups = ("ffn", "attention", "layernorm", "block", "conv", "deform", "fusion", "network")
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--part", nargs="+", choices=("all",) + groups, default=["all"],
                      help="groups of parts; all: every one but the whole network")
  parser.add_argument("--size", type=int, default=128, help="height and width of a packed frame")
  parser.add_argument("--features", type=int, default=48, help="features per frame, a multiple of 8")
  parser.add_argument("--batch", type=int, default=1, help="bursts of four frames")
  parser.add_argument("--repeats", type=int, default=5)
  parser.add_argument("--torch", action=argparse.BooleanOptionalAction, default=None,
                      help="also time PyTorch (the default where it is installed)")
  args = parser.parse_args()
  use_torch = bool(importlib.util.find_spec("torch")) if args.torch is None else args.torch
  chosen = set(args.part) | (set(groups[:-1]) if "all" in args.part else set())

  rows = []
  with multiprocessing.get_context("spawn").Pool(1, _prepare_torch_process) as torch_process:
    for part in parts_of(args.features):
      if part.group not in chosen:
        continue
      times = measure("ours", part.label, args)
      if use_torch:
        times |= torch_process.apply(measure, ("torch", part.label, args))
      rows.append((part, times))
      print(f"{part.label}: " + ", ".join(f"{name} {wall:.1f}" for name, (wall, _) in times.items()), flush=True)
  print(f"\n{args.batch} bursts of {_FRAMES} frames of {args.size}x{args.size}, {args.features} features, float32, "
        f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores")
  for pass_name in ("forward", "backward"):
    print_table(rows, pass_name, ["ours", "torch"] if use_torch else ["ours"])


if __name__ == "__main__":
  prepare_memory()
  main()
