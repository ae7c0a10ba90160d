"""The device mesh: batches split along "data", parameters replicated. One device is a mesh of one."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from h3r_jax.errors import UserError


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of one axis, "data", over `devices` (all devices of all processes by default)."""
    devices = jax.devices() if devices is None else devices
    # By process, so that the slices of a global batch lie one behind the other in the order of the processes.
    devices = sorted(devices, key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of parameters: whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of a batch: leading axis split over "data"."""
    return NamedSharding(mesh, PartitionSpec("data"))


def check_batch_size(batch_size: int, mesh: Mesh, accumulation: int = 1) -> None:
    """UserError unless a global batch of that size splits evenly over the mesh, in `accumulation` micro-batches."""
    if accumulation < 1:
        raise UserError(f"train.accumulation={accumulation} must be 1 or more micro-batches")
    if batch_size < 1 or batch_size % (mesh.size * accumulation):
        times = f" times {accumulation} micro-batches" if accumulation > 1 else ""
        raise UserError(f"batch_size={batch_size} must be a positive multiple of the {mesh.size} devices{times}")


def to_devices(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's slice of a global batch (a dict of numpy arrays) as global arrays over the mesh."""
    sharding = batch_sharding(mesh)
    return {name: jax.make_array_from_process_local_data(sharding, np.asarray(array)) for name, array in batch.items()}
