"""The front door: `load` makes networks out of weight files, `Debir` asks for exposure times and restores bursts."""

from collections.abc import Callable
import dataclasses
import functools
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from debir_jax.motion import MotionEstimator
from debir_jax.pipeline import preview_before, restore, restorer_inputs
from debir_jax.policies import BAENetPolicy, check_previews, observe
from debir_jax.restoration import Restorer, RestorerInputs, restore_in_tiles
from debir_jax.restoration.noise_level import estimated_gains
from debir_jax.runtime.files import local_path
from debir_jax.runtime.protocols import check_hashable
from debir_jax.simulator import NoiseModel, frame_mask, starts_after_target
from debir_jax.types import Burst, BurstTiming, CameraColor, Preview
from debir_jax.weights.descriptions import (
  TRAINED_FOR_DEFAULTS,
  build_conditions,
  build_motion,
  build_predictor,
  build_restorer,
  build_restorer_inputs,
)
from debir_jax.weights.shipped import DEFAULT, list_weights, shipped_files
from debir_jax.weights.weight_file import BAENET_FILE, RAFT_FILE, RESTORER_FILE, load_weights

_GRID = 4  # Networks go down to a quarter of the size, in packed px.
_WHOLE_SIDE = 256  # Images up to this side are restored as a whole unless asked otherwise, packed px.
_TILE_SIDE = 128  # Of larger ones; the paper trains on pieces of this size, packed px.


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Debir:
  """Trained networks, ready to use; made by `load`.

  Attributes:
    restorer: maps `restorer_inputs` of a burst to an image; None where the weights hold none.
    restorer_variables: its weights, {"params": ...}.
    restorer_inputs: what it sees of a burst.
    policy: BAENet as a `Policy`; None where the weights hold none.
    motion: measures the motion that it sees.
    timing: of the bursts that the networks are for.
    noise_model: of the camera that they were trained with; None where it is none of this package.
    description: what the weight files say, by "restorer" and "baenet".
  """

  restorer: Restorer | None
  restorer_variables: Any
  restorer_inputs: RestorerInputs
  policy: BAENetPolicy | None
  motion: MotionEstimator
  timing: BurstTiming
  noise_model: NoiseModel | None
  description: dict[str, Any]

  def exposure_times(self, previews: jax.Array, preview_gain: float, color: CameraColor | None = None, *,
                     num_frames: int | None = None) -> jax.Array:
    """Exposure times `[n]`, s, for the burst to be taken.

    Args:
      previews: two of them `[2, h, w, 4]`, packed RAW (R, Gr, Gb, B) in [0, 1] after black level, white = 1; the
        earlier one first. `debir_jax.imaging.pack` packs a mosaic.
      preview_gain: of both, linear: ISO over base ISO.
      color: white balance and color matrix of the camera; neutral by default.
      num_frames: n, where the weights are for several; by default as many as BAENet chooses.

    Raises:
      ValueError: there is no BAENet, it does not know bursts of so many frames, or the previews or their gain make no
        sense.

    Warns:
      UserWarning: the gain lies outside the range that BAENet is trained for.
    """
    if self.policy is None:
      raise ValueError("These weights hold a restorer alone, no BAENet that could predict exposure times. Load a "
                       f"folder with {BAENET_FILE}, or one of {', '.join(list_weights())}.")
    previews = jnp.asarray(previews, jnp.float32)
    check_previews(previews, preview_gain)
    self.policy.inputs.warn_outside(preview_gain)
    color = CameraColor.neutral() if color is None else color
    policy = self.policy if num_frames is None else self.policy.for_frames(num_frames)
    times = _choose(policy, self.motion, self.timing, previews, jnp.float32(preview_gain), color)
    return times[:int(jnp.count_nonzero(times))]

  def restore(self, raw: jax.Array, exposure_times: jax.Array, *, previews: jax.Array | None = None,
              gains: jax.Array | None = None, tile_size: int | None = None) -> jax.Array:
    """The image at the start of the burst, `[h, w, 4]`, packed RAW.

    Args:
      raw: frames `[n, h, w, 4]`, packed RAW after black level, white = 1, all of one brightness; any sides. As many as
        `timing.num_frames`, or fewer where the restorer can do with fewer.
      exposure_times: `[n]`, s, as they were taken.
      previews: `[2, h, w, 4]`, those that the exposure times were predicted from, where they are as large as the frames
        and as bright: a restorer that aligns frames finds their motion better by the later one, if it was taken right
        before the burst.
      gains: `[n]`, linear; wanted by restorers that see the noise of every frame as it is. One that aligns frames finds
        them itself, where they are not given.
      tile_size: side of the tiles that the image is restored in, packed px, a multiple of 4; 0: as a whole. By default
        images of more than 256 px a side are restored in tiles of 128 px, which bounds the memory.

    Raises:
      ValueError: there is no restorer, or the arguments do not fit it.
    """
    if self.restorer is None:
      raise ValueError(f"These weights hold a BAENet alone, no restorer. Load a folder with {RESTORER_FILE}, or one of "
                       f"{', '.join(list_weights())}.")
    burst = self._burst(raw, exposure_times, gains, previews)
    tile_size = _tile_size(burst.raw.shape[1:3], tile_size)
    height, width = burst.raw.shape[1:3]
    burst = _padded_burst(burst, [-(-side // _GRID) * _GRID for side in (height, width)])
    image = _restore(self.restorer, self.restorer_inputs, tile_size, self.restorer_variables, burst)
    return image[:height, :width]

  def check_num_frames(self, num_frames: int) -> None:
    """Raises a ValueError where the restorer is not for bursts of so many frames.

    Fewer than its own many are left out at the end: aligned frames say by their validity which were taken, others by a
    plane that only weights for several burst sizes know.
    """
    most, fewer = self.timing.num_frames, self.restorer_inputs.aligned or self.restorer_inputs.frame_mask
    if not 1 <= num_frames <= most or num_frames < most and not fewer:
      raise ValueError(f"These weights are for bursts of {'at most ' if fewer else ''}{most} frames, got {num_frames}. "
                       f"Give {most} of them, or weights for other bursts ({', '.join(list_weights())} are in the "
                       "package).")

  def _burst(self, raw, exposure_times, gains, previews) -> Burst:
    raw, times = jnp.asarray(raw, jnp.float32), np.asarray(exposure_times, np.float32)
    if raw.ndim != 4 or raw.shape[-1] != 4 or 0 in raw.shape:
      raise ValueError(f"raw must be packed RAW [{self.timing.num_frames}, h, w, 4] (R, Gr, Gb, B), got shape "
                       f"{raw.shape}; debir_jax.imaging.pack packs a mosaic.")
    num_frames = raw.shape[0]
    self.check_num_frames(num_frames)
    lowest, highest = float(jnp.min(raw)), float(jnp.max(raw))
    if not -1 <= lowest <= highest <= 2:  # Written so that NaN fails.
      raise ValueError(f"raw must be relative to white = 1 after the black level, got values from {lowest} to "
                       f"{highest}; subtract the black level and divide by white minus black.")
    _check_frames("exposure_times, s,", times, num_frames)
    if gains is not None:
      _check_frames("gains, linear,", np.asarray(gains, np.float32), num_frames)
    elif self.restorer_inputs.aligned:
      gains = estimated_gains(raw, jnp.asarray(times), self.noise_model)
    elif self.restorer_inputs.noise_map:
      raise ValueError("This restorer sees the noise of every frame, which depends on its gain: pass gains=[n], "
                       "linear.")
    gains = jnp.ones(num_frames) if gains is None else jnp.asarray(gains, jnp.float32)
    left_out = self.timing.num_frames - num_frames
    raw = jnp.pad(raw, ((0, left_out), (0, 0), (0, 0), (0, 0)))
    times, gains = np.pad(times, (0, left_out)), jnp.pad(gains, (0, left_out))
    taken = frame_mask(times)
    return Burst(raw=raw, exposure_times=jnp.asarray(times), frame_mask=taken, noise_model=self.noise_model,
                 gains=gains, start_s=starts_after_target(times, self.timing),
                 preview=self._preview(previews, raw, times, gains))

  def _preview(self, previews, raw, times, gains) -> Preview | None:
    """The frame before the burst, of its brightness: g_p t_p = g_0 t_0 (Eq. 1)."""
    if previews is None or not self.restorer_inputs.aligned:
      return None
    previews, preview_gain = jnp.asarray(previews, jnp.float32), gains[0] * times[0] / self.timing.preview_exposure_s
    check_previews(previews, preview_gain)
    if previews.shape[1:] != raw.shape[1:]:
      raise ValueError(f"previews {previews.shape} must be as large as the frames {raw.shape}; leave them out where "
                       "they are not.")
    return preview_before(previews, preview_gain, self.timing)


def load(weights: str | os.PathLike | None = None, *, restorer: Restorer | None = None) -> Debir:
  """Networks out of weight files.

  Args:
    weights: a name of `list_weights()`; a folder with restorer.safetensors, baenet.safetensors or both, as
      `python -m debir_jax.convert` writes it; or one such file. None: the default ones of the package.
    restorer: the network of the restorer's file, where it is one of your own.

  Raises:
    FileNotFoundError: there is neither such a name nor such a file or folder.
    ValueError: a file is damaged, foreign, of another format or network, the two networks do not belong together, or
      it is the address of a cloud.
  """
  check_hashable("restorer", restorer)
  files = _files_of(weights)
  loaded = {name: load_weights(path) for name, path in files.items()}
  for name in set(loaded) - {"raft"}:
    _check_described(loaded[name][1], files[name])
  _check_together(loaded, files)
  described = next(loaded[name][1]["trained_for"] for name in ("restorer", "baenet") if name in loaded)
  timing, noise_model = build_conditions(described)
  module, inputs = _restorer_of(loaded, files, restorer)
  return Debir(
      restorer=module, restorer_inputs=inputs, restorer_variables=_on_device(loaded.get("restorer", ({}, {}))[0]),
      policy=_policy_of(loaded, files), motion=_motion_of(loaded, files), timing=timing, noise_model=noise_model,
      description={name: description for name, (_, description) in loaded.items()})


@functools.partial(jax.jit)
def _choose(policy, motion, timing, previews, preview_gain, color) -> jax.Array:
  return policy(jax.random.key(0), observe(previews, preview_gain, color, motion, timing), timing)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _restore(restorer, options, tile_size, variables, burst) -> jax.Array:
  inputs = restorer_inputs(burst, options)
  whole: Callable[[jax.Array], jax.Array] = lambda inputs: restore(restorer, variables, inputs)
  if not tile_size:
    return whole(inputs)
  inputs = _padded(inputs, [max(side, tile_size) for side in inputs.shape[1:3]])
  return restore_in_tiles(whole, inputs, tile_size=tile_size, overlap=tile_size // 4 // _GRID * _GRID)


def _padded_burst(burst, sides):
  """The burst with larger frames."""
  preview = burst.preview
  if preview is not None:
    preview = dataclasses.replace(preview, raw=_padded(preview.raw[None], sides)[0])
  return dataclasses.replace(burst, raw=_padded(burst.raw, sides), preview=preview)


def _padded(frames, sides):
  """Frames `[n, h, w, c]`, mirrored to the right and below to these sides."""
  right, below = (to - side for to, side in zip(sides[::-1], frames.shape[2:0:-1]))
  return jnp.pad(frames, ((0, 0), (0, below), (0, right), (0, 0)), "symmetric")


def _tile_size(sides, tile_size) -> int:
  if tile_size is None:
    return _TILE_SIDE if max(sides) > _WHOLE_SIDE else 0
  if tile_size < 0 or tile_size % _GRID:
    raise ValueError(f"tile_size={tile_size} must be a multiple of {_GRID} packed px, or 0 for the image as a whole.")
  return tile_size


def _check_frames(what, values, num_frames) -> None:
  taken = values[values != 0] if values.ndim else values
  if values.shape != (num_frames,) or values[0] == 0 or not np.all(np.isfinite(values)) or np.any(taken < 0):
    raise ValueError(f"{what} must be [{num_frames}] positive numbers (0 where a frame behind the first is left out), "
                     f"got {values}.")


def _files_of(weights) -> dict[str, pathlib.Path]:
  """Files by network: "restorer", "baenet" and "raft"."""
  if weights is None or weights in list_weights():
    return dict(zip(("restorer", "baenet"), shipped_files(weights or DEFAULT)))
  path = local_path(weights, "weights")
  if path.is_file():
    return {"baenet" if _holds_predictor(path) else "restorer": path}
  if not path.is_dir():
    raise FileNotFoundError(f"There are no weights {str(weights)!r}: neither a file or folder, nor a name of the "
                            f"package's own weights ({', '.join(list_weights())}).")
  names = dict(restorer=RESTORER_FILE, baenet=BAENET_FILE, raft=RAFT_FILE)
  files = {network: path / name for network, name in names.items() if (path / name).is_file()}
  if not set(files) & {"restorer", "baenet"}:
    hint = ("It is the workdir of a run; `python -m debir_jax.convert --from` it makes weights of it."
            if (path / "config.json").exists() else "`python -m debir_jax.convert --help` tells how to make them.")
    raise FileNotFoundError(f"{path} holds neither {RESTORER_FILE} nor {BAENET_FILE}. {hint}")
  return files


def _holds_predictor(path) -> bool:
  description = load_weights(path)[1]
  _check_described(description, path)
  return "motion" in description["trained_for"]


def _check_described(description, path) -> None:
  if not {"architecture", "trained_for"} <= set(description):
    raise ValueError(f"{path} holds {description.get('architecture', {}).get('name', 'another network')}, neither a "
                     "restorer nor a BAENet.")


def _check_together(loaded, files) -> None:
  """Raises a ValueError for a restorer and a BAENet that are for different bursts."""
  if not {"restorer", "baenet"} <= set(loaded):
    return
  ours, theirs = (TRAINED_FOR_DEFAULTS | loaded[name][1]["trained_for"] for name in ("restorer", "baenet"))
  different = [name for name in ours if ours[name] != theirs.get(name)]
  if different:
    raise ValueError(f"{files['restorer']} and {files['baenet']} do not belong together, they differ in "
                     f"{', '.join(different)}. Load one of them alone, or files of one run.")


def _restorer_of(loaded, files, restorer) -> tuple[Restorer | None, RestorerInputs]:
  if "restorer" not in loaded:
    return None, RestorerInputs()
  variables, description = loaded["restorer"]
  if restorer is not None:
    return restorer, build_restorer_inputs(description["architecture"])
  restorer, inputs = build_restorer(description["architecture"])
  num_frames = description["trained_for"]["timing"]["num_frames"]
  frames = jax.ShapeDtypeStruct((num_frames, 8, 8, inputs.num_channels), np.float32)
  _check_shapes(jax.eval_shape(restorer.init, jax.random.key(0), frames), variables, files["restorer"])
  return restorer, inputs


def _policy_of(loaded, files) -> BAENetPolicy | None:
  if "baenet" not in loaded:
    return None
  variables, description = loaded["baenet"]
  module, inputs = build_predictor(description["architecture"], description["trained_for"]["min_preview_gain"])
  planes = jax.ShapeDtypeStruct((1, 32, 32, inputs.num_channels), np.float32)
  shapes = jax.eval_shape(lambda planes: module.init(jax.random.key(0), planes, train=False), planes)
  _check_shapes(shapes, variables, files["baenet"])
  return BAENetPolicy(module=module, variables=_on_device(variables), inputs=inputs)


def _motion_of(loaded, files) -> MotionEstimator:
  if "baenet" not in loaded:
    return MotionEstimator()
  motion = build_motion(loaded["baenet"][1]["trained_for"]["motion"], _on_device(loaded.get("raft", ({}, {}))[0]))
  if motion.estimator.name.startswith("raft") and not motion.variables:
    raise ValueError(f"The BAENet of {files['baenet']} sees motion that {motion.estimator.name} measures, whose "
                     f"weights are not there: put {RAFT_FILE} beside it (`python -m debir_jax.convert` of RAFT's "
                     "checkpoint).")
  return motion


def _check_shapes(expected, found, path) -> None:
  shapes = lambda tree: jax.tree.map(lambda leaf: tuple(leaf.shape), dict(tree))
  if shapes(expected) != shapes(found):
    raise ValueError(f"{path} does not hold the network that it describes; it is damaged or was put together by hand. "
                     "Convert it again.")


def _on_device(variables):
  return jax.tree.map(jnp.asarray, variables)
