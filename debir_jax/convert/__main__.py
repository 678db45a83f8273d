"""Makes weights of this package out of a PyTorch checkpoint of the authors' release, or of a run of this package.

  python -m debir_jax.convert --from debir.ckpt --to weights         # Burstormer, BAENet and RAFT, whatever is in it
  python -m debir_jax.convert --from raft-small.pth --to weights     # RAFT alone, of princeton-vl or torchvision
  python -m debir_jax.convert --from lpips_alex.pth --to weights     # the metric, see debir_jax/evaluation/lpips.py
  python -m debir_jax.convert --from flownet.pkl --to weights        # RIFE, which interpolates: docs/interpolation.md
  python -m debir_jax.convert --from state_dict.npz --to weights     # names and arrays, saved without PyTorch
  python -m debir_jax.convert --from runs/quickstart --to weights    # a run of this package, to hand its networks on

Writes restorer, baenet, raft, lpips and rife.safetensors into weights/, those that are there, once everything is read
and checked. State dicts are found below the usual names ("state_dict", "model", "params", ..., averaged weights first),
and what training puts in front of names ("module.", "_orig_mod.", "model.", ...) is left out. A checkpoint does not say
which timing, noise and inputs it was trained for: --config does, and its networks must be those of the checkpoint. Of a
run the newest checkpoints are taken, under the config that it was started with; MODEL_CARD.md then tells how they were
trained, and --notes=FILE (Markdown) adds where the data is from, its licences, and what they are not for.
SHA256SUMS beside the files is checked whenever they are loaded. Then

  python -m debir_jax.main --config=configs/evaluate.py:release --config.init_from=weights

measures DEBIR, and fixed exposure times where there is a restorer of stage 1 (--stage1). Run both from the top folder
of the checkout. Files of PyTorch before version 1.6 need PyTorch (pip install "debir_jax[torch]"); nothing that they
say is ever executed.
"""

import argparse
from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
import sys
from typing import Any
import warnings

import jax
import ml_collections
import numpy as np

from debir_jax.config.compatibility import compatibility_of
from debir_jax.config.networks import Models, models_of, named_motion_of
from debir_jax.convert.baenet import baenet_config, baenet_params
from debir_jax.convert.burstormer import (
  burstormer_channels,
  burstormer_config,
  burstormer_frames,
  burstormer_params,
  check_restores_raw,
)
from debir_jax.convert.ifnet import ifnet_params
from debir_jax.convert.lpips import lpips_network, lpips_params
from debir_jax.convert.model_card import CARD_FILE, model_card
from debir_jax.convert.parts import split_parts
from debir_jax.convert.raft import raft_params, raft_size
from debir_jax.convert.run import run_config, run_networks
from debir_jax.convert.state_dict import listed
from debir_jax.convert.torch_files import read_state_dict
from debir_jax.restoration import Burstormer
from debir_jax.runtime.command_line import load_config
from debir_jax.runtime.errors import told_in_a_line
from debir_jax.runtime.files import local_path, write_text
from debir_jax.weights.checksums import CHECKSUMS_FILE, write_checksums
from debir_jax.weights.weight_file import (
  BAENET_FILE,
  LPIPS_FILE,
  RAFT_FILE,
  RESTORER_FILE,
  RESTORER_STAGE1_FILE,
  RIFE_FILE,
  save_weights,
)

_RELEASE = "configs/release.py"
_FILES = dict(restorer=RESTORER_FILE, restorer_stage1=RESTORER_STAGE1_FILE, baenet=BAENET_FILE, raft=RAFT_FILE,
              lpips=LPIPS_FILE, rife=RIFE_FILE)


def main(argv: Sequence[str]) -> None:
  """Reads the options and converts; what is wrong is told in a few lines, not as a traceback."""
  options = _parser().parse_args(argv)
  with told_in_a_line(ValueError, OSError, ImportError):
    source, folder = local_path(options.source, "--from"), local_path(options.to, "--to")
    options.to, is_run = str(folder), source.is_dir()
    if options.config or not is_run:
      options.config = str(local_path(options.config or _RELEASE, "--config"))
    config = _config(options.config) if options.config else run_config(source)
    networks = run_networks(source, config) if is_run else _convert_file(source, config, options.ignore)
    networks = _as_stage1(networks, source) if options.stage1 else networks
    notes = local_path(options.notes, "--notes").read_text() if options.notes else ""
    card = model_card(source, networks, notes) if is_run else notes
    written = write(networks, folder, overwrite=options.overwrite, card=card)
  for name, (variables, description) in networks.items():
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    settings = ", ".join(f"{field} {value}" for field, value in description["architecture"].items())
    print(f"{name:9s}{count:>10,} parameters  ({settings})")
  print(f"Written: {', '.join(map(str, written))}\n{_next_step(networks, options)}")


def _config(path_and_mode: str) -> ml_collections.ConfigDict:
  try:
    return load_config(path_and_mode)
  except (ValueError, OSError, ImportError):
    raise
  except Exception as error:  # A config is a program, and can go wrong like one.
    raise ValueError(f"--config={path_and_mode} cannot be loaded: {type(error).__name__}: {error}") from error


def _convert_file(source: pathlib.Path, config: ml_collections.ConfigDict,
                  ignored: Sequence[str]) -> dict[str, tuple[dict, dict]]:
  """`convert` of a file; what there is to say about how it was read is printed, and errors name it."""
  with warnings.catch_warnings():
    warnings.simplefilter("always", UserWarning)
    warnings.showwarning = lambda message, *_: print(f"Note: {message}", file=sys.stderr)
    state_dict = read_state_dict(source)
  try:
    return convert(state_dict, config, ignored=ignored)
  except ValueError as error:
    raise ValueError(f"{source}: {error}") from error


def _as_stage1(networks, source):
  """The restorer alone, as what stage 1 left."""
  if "restorer" not in networks:
    raise ValueError(f"{source} holds no restorer, which --stage1 is about.")
  return dict(restorer_stage1=networks["restorer"])


def convert(state_dict: Mapping[str, np.ndarray], config: ml_collections.ConfigDict, *,
            ignored: Sequence[str] = ()) -> dict[str, tuple[dict, dict]]:
  """Variables and description of "restorer", "baenet", "raft", "lpips" and "rife", those that a checkpoint
  holds.

  Args:
    state_dict: of a checkpoint of the release, or of one network.
    config: what the networks were made for, see `configs/release.py`.
    ignored: names that begin with one of these are left out.

  Raises:
    ValueError: weights that belong to no network, do not fit it or are not finite; networks other than the config's.
  """
  parts = split_parts(state_dict, ignored=ignored)
  for weights in parts.values():
    _check_finite(weights)
  if "restorer" in parts:
    check_restores_raw(parts["restorer"])
  networks, motion = {}, named_motion_of(config)
  if "raft" in parts:
    networks["raft"] = _converted_raft(parts["raft"])
    if motion.estimator.name == f"raft_{networks['raft'][1]['architecture']['size']}":  # BAENet's, as in the release.
      motion = dataclasses.replace(motion, variables=networks["raft"][0])
  models = models_of(config, motion=motion)
  compatibility = compatibility_of(config, models)
  if "restorer" in parts:
    networks["restorer"] = burstormer_params(parts["restorer"]), compatibility["restoration"]
    _check_network("restorer", _restorer_shapes(models), networks["restorer"][0],
                   _restorer_numbers(parts["restorer"]), _restorer_numbers_of(models))
  if "baenet" in parts:
    networks["baenet"] = baenet_params(parts["baenet"]), compatibility["bae"]
    _check_network("baenet", _bae_shapes(models), networks["baenet"][0], _bae_numbers(parts["baenet"]),
                   _bae_numbers_of(config, models))
  if "lpips" in parts:
    networks["lpips"] = lpips_params(parts["lpips"]), {
        "architecture": {"name": "lpips", "size": lpips_network(parts["lpips"])}}
  if "rife" in parts:
    networks["rife"] = ifnet_params(parts["rife"]), {"architecture": {"name": "ifnet", "version": "4.2x"}}
  if not networks:
    raise ValueError("No weights are left to convert.")
  return {part: networks[part] for part in _FILES if part in networks}


def _converted_raft(weights):
  return raft_params(weights), {"architecture": {"name": "raft", "size": raft_size(weights)}}


def write(networks: Mapping[str, tuple[dict, dict]], folder: pathlib.Path, *, overwrite: bool,
          card: str = "") -> list[pathlib.Path]:
  """Writes a file per network, the card where there is one, and checksums of all weights there; returns the paths.

  Raises:
    FileExistsError: a file is there already, and not `overwrite`. Then none is written.
  """
  paths = {part: folder / _FILES[part] for part in networks}
  written = [*paths.values(), *([folder / CARD_FILE] if card else [])]
  existing = [str(path) for path in written if path.exists()]
  if existing and not overwrite:
    raise FileExistsError(f"There is {', '.join(existing)} already. Give another folder, or --overwrite.")
  folder.mkdir(parents=True, exist_ok=True)
  for part, path in paths.items():
    save_weights(path, *networks[part])
  if card:
    write_text(folder / CARD_FILE, card)
  write_checksums(folder, [path.name for path in folder.glob("*.safetensors")])
  return [*written, folder / CHECKSUMS_FILE]


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(prog="python -m debir_jax.convert", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--from", dest="source", required=True, metavar="FILE",
                      help=".ckpt, .pth, .pt, .bin or .pkl of PyTorch, .safetensors, .npz, or the workdir of a run")
  parser.add_argument("--to", required=True, metavar="FOLDER", help="created where absent")
  parser.add_argument("--config", default="", metavar="FILE",
                      help=f"what the networks were trained for (default: that of the run; of files {_RELEASE})")
  parser.add_argument("--ignore", nargs="+", default=[], metavar="START",
                      help="leave out weights whose names begin like this, e.g. those of a loss")
  parser.add_argument("--stage1", action="store_true",
                      help="the restorer is as stage 1 left it: fixed exposure times are compared under it")
  parser.add_argument("--notes", default="", metavar="FILE",
                      help="Markdown for MODEL_CARD.md: data and licences, what the networks are not for")
  parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
  return parser


def _restorer_shapes(models: Models) -> Any:
  frames = jax.ShapeDtypeStruct((models.bae.num_frames, 8, 8, models.restorer_inputs.num_channels), np.float32)
  return jax.eval_shape(models.restorer.init, jax.random.key(0), frames)


def _bae_shapes(models: Models) -> Any:
  planes = jax.ShapeDtypeStruct((1, 32, 32, models.bae_inputs.num_channels), np.float32)
  return jax.eval_shape(lambda planes: models.bae.init(jax.random.key(0), planes, train=False), planes)


def _check_network(part: str, expected: Any, variables: dict, found: dict[str, Any], wanted: dict[str, Any]) -> None:
  """The network of the config must be that of the weights, or its description would be wrong."""
  shapes = lambda tree: jax.tree.map(lambda leaf: tuple(leaf.shape), tree)
  if shapes(expected) != shapes(variables):
    told = ", ".join(f"{name}={value} instead of {wanted[name]}" for name, value in found.items()
                     if value != wanted[name]) or "other shapes of arrays"
    raise ValueError(f"The {part} of this checkpoint is not that of --config: its weights say {told}. Give a config "
                     "with these numbers; a copy of configs/release.py with other numbers will do.")


def _restorer_numbers(weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """What tells one Burstormer from another, by where a config says it."""
  return {f"config.restorer.{name}": value for name, value in burstormer_config(weights).items()} | {
      "config.capture.num_frames": burstormer_frames(weights),
      "channels of config.restorer_inputs": burstormer_channels(weights)}


def _restorer_numbers_of(models: Models) -> dict[str, Any]:
  if not isinstance(models.restorer, Burstormer):
    raise ValueError(f"This checkpoint is of a Burstormer, but --config has {type(models.restorer).__name__}; set "
                     "config.restorer.network='burstormer' and config.restorer_inputs.aligned=False in it.")
  fields = ("num_features", "out_channels", "blocks_per_level", "fusion_blocks", "deform_groups")
  return {f"config.restorer.{name}": getattr(models.restorer, name) for name in fields} | {
      "config.capture.num_frames": models.bae.num_frames,
      "channels of config.restorer_inputs": models.restorer_inputs.num_channels}


def _bae_numbers(weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """`_restorer_numbers` of a BAENet."""
  found = baenet_config(weights)
  return {"config.bae.network": "baenet", "config.bae.blocks": "mobilenet_v2", "config.bae.norm": "batch",
          "config.bae.width": found["width"], "config.bae's num_planes": found["num_planes"],
          "config.capture.num_frames": found["num_frames"]}


def _bae_numbers_of(config: ml_collections.ConfigDict, models: Models) -> dict[str, Any]:
  said = {f"config.bae.{name}": config.bae[name] for name in ("network", "blocks", "norm", "width")}
  return said | {"config.bae's num_planes": models.bae_inputs.num_channels,
                 "config.capture.num_frames": models.bae.num_frames}


def _check_finite(weights: Mapping[str, np.ndarray]) -> None:
  bad = [name for name, array in weights.items() if not np.all(np.isfinite(array))]
  if bad:
    raise ValueError(f"These weights hold numbers that are not finite: {listed(bad)}. The file is damaged, or its "
                     "training went wrong.")


def _next_step(networks: Mapping[str, Any], options: argparse.Namespace) -> str:
  """The command to run next; under the same config, as the weights refuse any other."""
  if not options.config:
    return f"Next, use it: debir_jax.load({options.to!r}), or --weights={options.to} of the commands."
  run = f"  python -m debir_jax.main --config={options.config} --config.init_from={options.to}"
  if list(networks) == ["raft"]:
    size = networks["raft"][1]["architecture"]["size"]
    return ("Next, add this to any run with crops of 256 px or more:\n"
            f"  --config.motion.estimator=raft_{size} --config.motion.weights={options.to}/{RAFT_FILE}")
  if list(networks) == ["lpips"]:
    return f"Next, add this to any evaluation:\n  --config.evaluation.lpips={options.to}/{LPIPS_FILE}"
  if list(networks) == ["rife"]:
    return ("Next, add this to `python -m debir_jax.scenes.prepare`:\n"
            f"  --interpolator=rife --weights={options.to}/{RIFE_FILE}")
  if not (pathlib.Path(options.to) / RESTORER_FILE).exists():
    return "Next, convert the checkpoint of its restorer into the same folder."
  if "baenet" not in networks:
    return f"Next, train BAENet for this restorer:\n{run} --config.stages=\"('stage2_warmup','stage2')\""
  if options.config == _RELEASE:
    run = run.replace(_RELEASE, "configs/evaluate.py:release")
  else:
    run += " --config.stages='()' --config.comparison.enabled --config.comparison.finetune=False"
  return f"Next, measure it:\n{run}"


if __name__ == "__main__":
  main(sys.argv[1:])
