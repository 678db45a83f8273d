"""One evaluator with common random numbers: every method sees the same scenes, gains, previews and noise draws.

A capture is one scene under one draw of the conditions (gain, camera, noise). Its key is
`fold_in(fold_in(key(seed), scene_id), draw)`, so it depends neither on the methods that are compared, nor on their
order, nor on how scenes are batched. Differences between methods are therefore paired.

The devices of a process share each batch. Network parameters, keys and exposure times are arguments of the compiled
programs: taking, restoring and measuring compile once for all methods, candidates, draws and evaluators of the same
batch size.
"""

from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from debir_jax.evaluation.candidates import CandidateScores
from debir_jax.evaluation.lpips import Lpips
from debir_jax.evaluation.records import Record
from debir_jax.evaluation.rules import MetricRules
from debir_jax.pipeline import Chain, capture_under, observe_scene, restore, restorer_inputs
from debir_jax.policies import Policy, format_exposure_times, is_pytree
from debir_jax.restoration import Restorer
from debir_jax.runtime.protocols import check_hashable
from debir_jax.simulator import CaptureConditions, sample_conditions, target_of
from debir_jax.types import Burst, BurstTiming, CameraColor, Observation, Scene

_AXIS = "scenes"
_MAX_OVERHANG_SUBFRAMES = 1e-3  # Rounding of times in float32.
_LIMITS_TOLERANCE = 1e-5  # The same, relative.


@dataclasses.dataclass(frozen=True)
class Method:
  """A way to choose exposure times, with the restoration network that belongs to it.

  Attributes:
    name: unique among the methods of an evaluation.
    policy: `policy(key, observation, timing) -> exposure_times [n]`, for one capture. If it is a pytree, its arrays are
      arguments of the compiled program, so that new weights do not compile again.
    restorer_variables: of the evaluator's restorer, {"params": ...}.
    uses_ground_truth: the policy is `policy(scenes, conditions, restorer_variables) -> exposure_times [B, n]` instead:
      an oracle, which looks at the scenes of a batch themselves.
  """

  name: str
  policy: Policy
  restorer_variables: Any
  uses_ground_truth: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
  """One capture with all its images, to look at.

  Attributes:
    method, scene_id, draw, psnr: see `Record`.
    previews: `[2, h, w, 4]`; preview_gain: linear.
    raw: `[n, h, w, 4]`; exposure_times: `[n]`, s; gains: `[n]`, linear.
    restored, target: `[h, w, 4]`.
    color: how to view them.
    alternate_frame_sensitivity: what the restored image owes to the frames behind the first: root mean square of what
      changes in it when those are mirrored, left to right, over that of the image. 0 where the restorer looks at the
      first frame alone; None unless asked for.
  """

  method: str
  scene_id: int
  draw: int
  psnr: float
  previews: np.ndarray
  preview_gain: float
  raw: np.ndarray
  exposure_times: np.ndarray
  gains: np.ndarray
  restored: np.ndarray
  target: np.ndarray
  color: CameraColor
  alternate_frame_sensitivity: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metrics:
  """How restored images are measured.

  Attributes:
    rules: borders and the like.
    lpips: measures in `Evaluator.evaluate` what the rules say.
    patch_restorer: the restorer in patches, such as a `TiledRestorer`: `Evaluator.evaluate` restores and measures every
      capture by it too.
  """

  rules: MetricRules = MetricRules()
  lpips: Lpips | None = None
  patch_restorer: Restorer | None = None


class Evaluator:
  """Measures methods and candidates of exposure times under one set of conditions.

  `scenes` is always a batch of scenes (a `Scene` with a leading axis) or an iterable of such batches, of any sizes;
  it is gone through once and regrouped. Scene ids must be unique.
  """

  def __init__(self, chain: Chain, *, num_draws: int = 1, seed: int = 0, batch_size: int = 4,
               metrics: Metrics = Metrics(), devices: Sequence[jax.Device] = ()):
    """
    Args:
      chain: see `Chain`.
      num_draws: captures per scene.
      seed: of all captures.
      batch_size: scenes that go through a program at once, rounded up to a multiple of the devices; a matter of speed
        only.
      metrics: see `Metrics`.
      devices: of this process, to share each batch; none: its first one.
    """
    if num_draws < 1 or batch_size < 1:
      raise ValueError(f"num_draws and batch_size must be at least 1, got {num_draws} and {batch_size}.")
    check_hashable("restorer", chain.restorer)
    self._mesh = Mesh(np.array(devices or jax.local_devices()[:1]), (_AXIS,))
    self.num_draws, self.seed, self.batch_size = num_draws, seed, -(-batch_size // self._mesh.size) * self._mesh.size
    metrics.rules.check_lpips(metrics.lpips)
    self._chain = dataclasses.replace(chain, motion=self._on_all(chain.motion))
    self._metrics = dataclasses.replace(metrics, lpips=self._on_all(metrics.lpips))

  @property
  def timing(self) -> BurstTiming:
    """Timing of the bursts."""
    return self._chain.setup.timing

  def conditions(self, scene_ids: jax.Array, draw: int) -> CaptureConditions:
    """The captures `[B]` of scenes `[B]` at this draw: what every method and candidate is measured on."""
    return _sample_conditions(self._chain.setup, self.seed, jnp.asarray(scene_ids), draw)

  def observe(self, scenes: Scene, draw: int = 0) -> Observation:
    """What a policy sees of a batch of scenes at this draw; leaves have a leading axis `[B]`."""
    return _observe(self._chain.motion, self.timing, scenes, self.conditions(scenes.scene_id, draw))

  def evaluate(self, methods: Sequence[Method], scenes: Scene | Iterable[Scene]) -> list[Record]:
    """Measures every method on every capture.

    Returns:
      One record per scene, draw and method.

    Raises:
      ValueError: method names or scene ids repeat; a policy gives impossible exposure times, or such outside the limits
        of the timing; a restored image is not finite.
    """
    methods, records = self._placed(methods), []
    for batch in self._batches(scenes, range(self.num_draws)):
      observations = _observe(self._chain.motion, self.timing, batch.scenes, batch.conditions)
      for method in methods:
        times = self._exposure_times(method, batch, observations)
        scores = self._score_fully(_label(method), method.restorer_variables, batch, times)
        records += _records_of(method, batch, observations, times, scores)
    return records

  def score_candidates(self, candidates: jax.Array, scenes: Scene | Iterable[Scene],
                       restorer_variables: Any) -> CandidateScores:
    """Measures every fixed choice of exposure times on every capture, as the search of Sec. 5.3 needs it.

    Args:
      candidates: exposure times `[m, n]`, s; the set E.
      scenes: see the class.
      restorer_variables: of the pre-trained restorer.
    """
    candidates = np.asarray(candidates, np.float32)
    if candidates.ndim != 2 or candidates.shape[1] != self.timing.num_frames:
      raise ValueError(f"candidates must be exposure times [m, {self.timing.num_frames}] in s, got shape "
                       f"{candidates.shape}.")
    restorer_variables = self._on_all(restorer_variables)
    of_draw = [[] for _ in range(self.num_draws)]
    for batch in self._batches(scenes, range(self.num_draws)):
      of_draw[batch.draw].append(self._score_candidates_of(batch, candidates, restorer_variables))
    if not of_draw[0]:
      raise ValueError("There are no scenes to score candidates on.")
    gather = lambda name: np.stack([np.concatenate([part[name] for part in parts]) for parts in of_draw], axis=1)
    return CandidateScores(candidates=candidates, scene_ids=gather("scene_ids")[:, 0],
                           preview_gain=gather("preview_gain"), psnr=gather("psnr"), l1=gather("l1"))

  def examples(self, methods: Sequence[Method], scenes: Scene | Iterable[Scene], *, draw: int = 0,
               alternate_frame_sensitivity: bool = False) -> list[Example]:
    """All images of one draw of each scene, scene by scene, methods in their order; for a few scenes only.

    Args:
      methods: see the class.
      scenes: see the class.
      draw: which one.
      alternate_frame_sensitivity: also find out `Example.alternate_frame_sensitivity`, for which every burst is
        restored once more.
    """
    methods, examples = self._placed(methods), []
    for batch in self._batches(scenes, [draw]):
      observations = _observe(self._chain.motion, self.timing, batch.scenes, batch.conditions)
      of_methods = []
      for method in methods:
        times = self._exposure_times(method, batch, observations)
        measured = self._score(_label(method), method.restorer_variables, batch, times)
        sensitivities = (self._sensitivities(method, batch, *measured[2:]) if alternate_frame_sensitivity else
                         [None] * len(batch.scene_ids))
        of_methods.append(self._examples_of(method, batch, observations, measured, sensitivities))
      examples += [example for of_scene in zip(*of_methods) for example in of_scene]
    return examples

  def _batches(self, scenes, draws) -> Iterator["_Batch"]:
    """Every draw of batches of exactly `batch_size` scenes; where some lack, the last one is repeated."""
    seen = set()
    for group in _groups(scenes, self.batch_size):
      scene_ids = np.array([int(scene.scene_id) for scene in group])
      _check_new(scene_ids, seen)
      padded = group + group[-1:] * (self.batch_size - len(group))
      batch = jax.device_put(jax.tree.map(lambda *leaves: jnp.stack(leaves), *padded),
                             NamedSharding(self._mesh, PartitionSpec(_AXIS)))
      for draw in draws:
        yield _Batch(batch, scene_ids, draw, self.conditions(batch.scene_id, draw))

  def _placed(self, methods):
    """The same methods with their arrays on all devices."""
    _check_names(methods)
    return [dataclasses.replace(method, restorer_variables=self._on_all(method.restorer_variables),
                                policy=self._on_all(method.policy) if is_pytree(method.policy) else method.policy)
            for method in methods]

  def _on_all(self, tree):
    return jax.device_put(tree, NamedSharding(self._mesh, PartitionSpec()))

  def _exposure_times(self, method, batch, observations) -> np.ndarray:
    if method.uses_ground_truth:
      times = method.policy(batch.scenes, batch.conditions, method.restorer_variables)
    else:
      predict = _predict if is_pytree(method.policy) else _predict_of_function
      times = predict(method.policy, batch.conditions, observations, self.timing)
    times = np.asarray(times)
    for scene_id, times_of_capture in zip(batch.scene_ids, times):
      what = f"{_label(method)}, scene {scene_id}"
      _check_times(what, times_of_capture, batch.scenes.radiance.shape[1], self.timing)
      _check_limits(what, times_of_capture, self.timing)
    return times

  def _score_candidates_of(self, batch, candidates, restorer_variables) -> dict[str, np.ndarray]:
    """One draw of a batch: `[B, m]` for the metrics, `[B]` for the rest."""
    all_scores = []
    for times in candidates:
      label = f"Candidate {format_exposure_times(times)}"
      _check_times(label, times, batch.scenes.radiance.shape[1], self.timing)
      repeated = np.broadcast_to(times, (self.batch_size, len(times)))
      all_scores.append(self._score(label, restorer_variables, batch, repeated)[0])
    gains = np.asarray(batch.conditions.preview_gain)[:len(batch.scene_ids)]
    return dict(scene_ids=batch.scene_ids, preview_gain=gains,
                psnr=np.stack([scores["psnr"] for scores in all_scores], axis=1),
                l1=np.stack([scores["l1"] for scores in all_scores], axis=1))

  def _score(self, label, restorer_variables, batch, times):
    """RAW metrics of the true scenes of a batch as numpy arrays; bursts, what the restorer sees of them, images."""
    burst, inputs = self._capture(batch, times)
    restored = _restore(self._chain.restorer, self._mesh, restorer_variables, inputs)
    return self._measured(label, batch, restored), burst, inputs, restored

  def _score_fully(self, label, restorer_variables, batch, times):
    """All metrics of the true scenes of a batch as numpy arrays."""
    inputs = self._capture(batch, times)[1]
    restored = _restore(self._chain.restorer, self._mesh, restorer_variables, inputs)
    scores = self._measured(label, batch, restored, batch.scenes.color)
    if self._metrics.patch_restorer is None:
      return scores
    in_patches = self._measured(f"{label}, in patches", batch, _restore(
        self._metrics.patch_restorer, self._mesh, restorer_variables, inputs))
    return scores | {f"patch_{name}": in_patches[name] for name in ("psnr", "ssim")}

  def _capture(self, batch, times) -> tuple[Burst, jax.Array]:
    """The bursts of a batch, and what the restorer sees of them, `[B, n, h, w, c]`."""
    burst = _capture(batch.scenes.radiance, batch.conditions, times, self.timing, self._chain.motion_of(batch.scenes))
    return burst, _inputs(self._chain.restorer_inputs, burst)

  def _sensitivities(self, method, batch, inputs, restored) -> list[float]:
    """`Example.alternate_frame_sensitivity` of the true scenes of a batch."""
    other = np.asarray(_restore(self._chain.restorer, self._mesh, method.restorer_variables,
                                _alternates_mirrored(inputs)))
    restored = np.asarray(restored)
    rms = lambda images: np.sqrt(np.mean(np.square(images), (1, 2, 3)))[:len(batch.scene_ids)]
    return [float(change) for change in rms(other - restored) / np.maximum(rms(restored), 1e-12)]

  def _measured(self, label, batch, restored, color=None) -> dict[str, np.ndarray]:
    scores, finite = jax.tree.map(np.asarray, _measure(
        restored, batch.scenes.radiance, color, None if color is None else self._metrics.lpips, timing=self.timing,
        rules=self._metrics.rules))
    for scene_id, is_finite, quality in zip(batch.scene_ids, finite, scores["psnr"]):
      _check_result(f"{label}, scene {scene_id}, draw {batch.draw}", is_finite, quality)
    return {name: values[:len(batch.scene_ids)] for name, values in scores.items()}

  def _examples_of(self, method, batch, observations, measured, sensitivities) -> list[Example]:
    """Of one method; `measured` is what `_score` gives."""
    scores, burst, _, restored = measured
    of_scene = lambda tree, index: jax.tree.map(lambda x: np.asarray(x[index]), tree)
    return [
        Example(method=method.name, scene_id=int(scene_id), draw=batch.draw, psnr=float(scores["psnr"][index]),
                previews=of_scene(observations.previews, index), preview_gain=float(observations.preview_gain[index]),
                raw=of_scene(burst.raw, index), exposure_times=of_scene(burst.exposure_times, index),
                gains=of_scene(burst.gains, index), restored=of_scene(restored, index),
                target=np.asarray(target_of(batch.scenes.radiance[index], self.timing)),
                color=of_scene(batch.scenes.color, index), alternate_frame_sensitivity=sensitivities[index])
        for index, scene_id in enumerate(batch.scene_ids)]


@dataclasses.dataclass(frozen=True)
class _Batch:
  """One draw of a batch of scenes, padded to the batch size; `scene_ids` are those of the true ones."""

  scenes: Scene
  scene_ids: np.ndarray
  draw: int
  conditions: CaptureConditions


@jax.jit
def _sample_conditions(setup, seed, scene_ids, draw) -> CaptureConditions:
  key, fold_in = jax.random.key(seed), jax.random.fold_in
  return jax.vmap(lambda scene_id: sample_conditions(fold_in(fold_in(key, scene_id), draw), setup))(scene_ids)


@jax.jit
def _observe(motion, timing, scenes, conditions) -> Observation:
  def observe_one(scene, conditions):
    return observe_scene(conditions.preview_key, scene.radiance, scene.color, conditions.preview_gain,
                         conditions.preview_noise_model, timing, motion, black_level=conditions.black_level)

  return jax.vmap(observe_one)(scenes, conditions)


def _predict_times(policy, conditions, observations, timing) -> jax.Array:
  return jax.vmap(lambda key, observation: policy(key, observation, timing))(conditions.exposure_key, observations)


_predict = jax.jit(_predict_times)
_predict_of_function = jax.jit(_predict_times, static_argnums=0)


@jax.jit
def _capture(radiance, conditions, exposure_times, timing, motion) -> Burst:
  def capture_one(radiance, conditions, times, motion):
    return capture_under(conditions, radiance, times, timing, motion=motion)

  return jax.vmap(capture_one)(radiance, conditions, exposure_times, motion)


@functools.partial(jax.jit, static_argnums=0)
def _inputs(options, burst) -> jax.Array:
  return jax.vmap(lambda burst: restorer_inputs(burst, options))(burst)


@jax.jit
def _alternates_mirrored(inputs) -> jax.Array:
  return inputs.at[:, 1:].set(inputs[:, 1:, :, ::-1])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _restore(restorer, mesh, variables, inputs) -> jax.Array:
  """Each device its part; what the compiler makes of the whole by itself may send images around."""
  of_device = functools.partial(restore, restorer)
  return jax.shard_map(of_device, mesh=mesh, in_specs=(PartitionSpec(), PartitionSpec(_AXIS)),
                       out_specs=PartitionSpec(_AXIS), check_vma=False)(variables, inputs)


@functools.partial(jax.jit, static_argnames="rules")
def _measure(restored, radiance, color, lpips, *, timing, rules) -> tuple[dict[str, jax.Array], jax.Array]:
  """Metrics `[B]` by name, and whether the images are finite, `[B]`."""
  def measure_one(restored, radiance, color):
    return rules.measure(restored, target_of(radiance, timing), color, lpips), jnp.all(jnp.isfinite(restored))

  return jax.vmap(measure_one)(restored, radiance, color)


def _groups(scenes, size) -> Iterator[list[Scene]]:
  """Single scenes in groups of `size`, the last one smaller, however they came."""
  group = []
  for batch in [scenes] if isinstance(scenes, Scene) else scenes:
    _check_batched(batch)
    for index in range(batch.radiance.shape[0]):
      group.append(jax.tree.map(lambda leaf, index=index: leaf[index], batch))
      if len(group) == size:
        yield group
        group = []
  if group:
    yield group


def _records_of(method, batch, observations, times, scores) -> list[Record]:
  gains, motions = np.asarray(observations.preview_gain), np.asarray(observations.motion_magnitude)
  return [
      Record(method=method.name, scene_id=int(scene_id), draw=batch.draw,
             exposure_times=tuple(map(float, times[index])), preview_gain=float(gains[index]),
             motion_magnitude=float(motions[index]), **{name: float(values[index]) for name, values in scores.items()})
      for index, scene_id in enumerate(batch.scene_ids)]


def _label(method):
  return f"Method {method.name!r}"


def _check_names(methods):
  names = [method.name for method in methods]
  if len(set(names)) < len(names) or not names:
    raise ValueError(f"Every method needs its own name, and there must be one, got {names}.")


def _check_batched(scenes):
  scene_ids = np.shape(scenes.scene_id)
  if len(scene_ids) != 1 or np.ndim(scenes.radiance) != 5:
    raise ValueError("Scenes must come in batches: radiance [B, num_subframes, h, w, 4] and scene_id [B], got "
                     f"{np.shape(scenes.radiance)} and {scene_ids}. Add a leading axis to a single scene.")


def _check_new(scene_ids, seen):
  for scene_id in scene_ids.tolist():
    if scene_id in seen:
      raise ValueError(f"scene_id {scene_id} occurs twice. Its captures would be the same; give every scene its own "
                       "id.")
    seen.add(scene_id)


def _check_result(what, is_finite, quality):
  if not is_finite:
    raise ValueError(f"{what}: the restored image is not finite. The parameters of the restorer have diverged; go back "
                     "to an earlier checkpoint or lower the learning rate.")
  if not np.isfinite(quality):
    raise ValueError(f"{what}: restored image and target are equal, which no burst with noise allows. Look at the "
                     "scene (is it black?), or set mse_floor.")


def _check_times(what, times, num_subframes, timing):
  """Inside `jit` a window that leaves the sequence is cut silently, so it is refused here."""
  times = np.asarray(times, np.float64)
  if times.shape != (timing.num_frames,):
    raise ValueError(f"{what}: expected {timing.num_frames} exposure times, got shape {times.shape}.")
  if not np.all(np.isfinite(times)):
    raise ValueError(f"{what}: exposure times must be finite, got {times} s. The weights of the policy have diverged.")
  taken = times != 0
  if not taken[0] or np.any(times[taken] <= timing.exposure_offset_s):
    raise ValueError(f"{what}: exposure times must be longer than {timing.exposure_offset_s} s, or 0 where a frame "
                     f"behind the first one is left out, got {times} s.")
  end_s = timing.burst_start_s + times.sum() + (taken.sum() - 1) * timing.frame_gap_s - timing.exposure_offset_s
  end_subframes = end_s / timing.subframe_interval_s
  if end_subframes > num_subframes + _MAX_OVERHANG_SUBFRAMES:
    raise ValueError(f"{what}: exposure times {times * 1e3} ms end at subframe {end_subframes:.2f}, but the sequences "
                     f"have {num_subframes}. Expose less, or render timing.num_subframes(total exposure) = "
                     f"{timing.num_subframes(times.sum())} subframes.")


def _check_limits(what, times, timing):
  """A policy that exposes for longer, or asks for what no camera of this timing can, would be compared unfairly."""
  shortest, total = np.min(times[times != 0]), np.sum(times, dtype=np.float64)
  if shortest < timing.min_exposure_s * (1 - _LIMITS_TOLERANCE):
    raise ValueError(f"{what}: exposure times {times * 1e3} ms go below the shortest of this timing, "
                     f"{timing.min_exposure_s * 1e3} ms.")
  if total > timing.budget_s * (1 + _LIMITS_TOLERANCE):
    raise ValueError(f"{what}: exposure times {times * 1e3} ms add up to {total * 1e3:.3f} ms, more than the budget of "
                     f"{timing.budget_s * 1e3:.3f} ms.")
