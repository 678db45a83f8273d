"""One program on many devices: the batch is cut along the one axis of a mesh, and every device works on its part.

What a device computes of its part of the batch is written by hand (`jax.shard_map`), so that the only traffic between
devices is the mean of the gradients, the statistics of BatchNorm, and a few numbers of every example. The rest, moving
the parameters, follows where the state lies: on every device in full, or cut into parts (`sharding_of`).
"""

import math
from typing import Any, Callable

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

AXIS = "data"
_MIN_SHARDED_ELEMENTS = 2**14  # Smaller arrays are not worth a message of their own.


def make_mesh(num_devices: int | None = None) -> Mesh:
  """All devices of all processes in a row, those of one process side by side; or the first so many.

  Raises:
    ValueError: there are not as many, or some process would be left without a device.
  """
  devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
  if num_devices is None:
    num_devices = len(devices)
  if not 1 <= num_devices <= len(devices):
    raise ValueError(f"config.parallel.num_devices={num_devices}, but there are {len(devices)} devices.")
  if num_devices < len(devices) and jax.process_count() > 1:
    raise ValueError(f"config.parallel.num_devices={num_devices} leaves devices of {jax.process_count()} processes "
                     "without work; start fewer processes instead.")
  return Mesh(np.array(devices[:num_devices]), (AXIS,))


def check_batch_size(batch_size: int, mesh: Mesh, num_microbatches: int) -> None:
  """Raises a ValueError unless every device gets equal microbatches."""
  unit = mesh.size * max(num_microbatches, 1)
  if num_microbatches < 1 or batch_size < 1 or batch_size % unit:
    raise ValueError(
        f"config.batch_size={batch_size} is not a multiple of {unit} = {mesh.size} devices x "
        f"config.parallel.num_microbatches={num_microbatches}. The nearest are {max(batch_size // unit, 1) * unit} and "
        f"{(batch_size // unit + 1) * unit}; or use fewer devices (config.parallel.num_devices).")


def by_example(mesh: Mesh) -> NamedSharding:
  """Arrays with a leading batch axis: every device has its part."""
  return NamedSharding(mesh, PartitionSpec(AXIS))


def on_all(mesh: Mesh) -> NamedSharding:
  """Arrays that every device has in full."""
  return NamedSharding(mesh, PartitionSpec())


def sharding_of(shape: tuple[int, ...], mesh: Mesh, shard_state: bool) -> NamedSharding:
  """Where an array of the state lies: cut along its longest axis that can be cut evenly, if it is large; or on all."""
  axes = [axis for axis, size in enumerate(shape) if size % mesh.size == 0]
  if not shard_state or mesh.size == 1 or math.prod(shape) < _MIN_SHARDED_ELEMENTS or not axes:
    return on_all(mesh)
  longest = max(axes, key=lambda axis: shape[axis])
  return NamedSharding(mesh, PartitionSpec(*[AXIS if axis == longest else None for axis in range(len(shape))]))


def place(tree: Any, mesh: Mesh, shard_state: bool) -> Any:
  """A copy of a state on the mesh; every process must hold the same one."""
  def put(leaf):
    sharding = sharding_of(leaf.shape, mesh, shard_state)
    if jax.process_count() == 1:
      return jax.device_put(jnp.copy(leaf), sharding)
    host = np.asarray(leaf)  # Without the collective that `device_put` compares all processes with.
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

  return jax.tree.map(put, tree)


def local_copy(tree: Any, mesh: Mesh) -> Any:
  """A state from the mesh as arrays of this process's first device, as evaluation wants them; inverse of `place`."""
  gathered = jax.jit(lambda tree: tree, out_shardings=on_all(mesh))(tree)
  device = jax.local_devices()[0]
  return jax.tree.map(lambda leaf: jax.device_put(leaf.addressable_data(0), device), gathered)


def constrain(tree: Any, mesh: Mesh, shard_state: bool) -> Any:
  """Inside a program: keeps a new state where the old one was."""
  return jax.tree.map(
      lambda leaf: lax.with_sharding_constraint(leaf, sharding_of(leaf.shape, mesh, shard_state)), tree)


def map_examples(fn: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
  """`fn(shared, examples)`, independent for every example, on all devices."""
  return jax.shard_map(fn, mesh=mesh, in_specs=(PartitionSpec(), PartitionSpec(AXIS)), out_specs=PartitionSpec(AXIS),
                       check_vma=False)


def mean_gradient(loss_fn: Callable[..., Any], mesh: Mesh, num_microbatches: int = 1) -> Callable[..., Any]:
  """The gradient of a mean over all examples, and what else the loss function tells.

  Args:
    loss_fn: maps `(params, shared, examples)` to `(loss, (means, per_example))`, where loss and means are means over
      the examples it is given.
    mesh: of the devices.
    num_microbatches: parts of a device's examples that follow one another, to save memory.

  Returns:
    A function `(params, shared, examples) -> (gradient, means, per_example)`, means with `loss` among them. Gradient
    and means are over all examples, per_example are gathered from all devices, in order.
  """
  value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)

  def part(params, shared, examples):
    (loss, (means, per_example)), gradient = value_and_grad(params, shared, examples)
    return gradient, means | dict(loss=loss), per_example

  def of_device(params, shared, examples):
    if num_microbatches == 1:
      gradient, means, per_example = part(params, shared, examples)
    else:
      cut = lambda leaf: leaf.reshape(num_microbatches, leaf.shape[0] // num_microbatches, *leaf.shape[1:])

      def add(total, examples):
        gradient, means, per_example = part(params, shared, examples)
        return jax.tree.map(jnp.add, total, gradient), (means, per_example)

      total, (means, per_example) = lax.scan(add, jax.tree.map(jnp.zeros_like, params), jax.tree.map(cut, examples))
      gradient = jax.tree.map(lambda leaf: leaf / num_microbatches, total)
      means = jax.tree.map(lambda leaf: leaf.mean(0), means)
      per_example = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), per_example)
    gathered = jax.tree.map(lambda leaf: lax.all_gather(leaf, AXIS, tiled=True), per_example)
    return *lax.pmean((gradient, means), AXIS), gathered

  return jax.shard_map(of_device, mesh=mesh, in_specs=(PartitionSpec(), PartitionSpec(), PartitionSpec(AXIS)),
                       out_specs=PartitionSpec(), check_vma=False)
