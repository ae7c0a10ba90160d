"""The device mesh: batches split along "data", parameters replicated. One device is a mesh of one."""

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def make_mesh(devices=None):
    """A mesh of one axis, "data", over `devices` (all devices of all processes by default)."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh):
    """The sharding of parameters: whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh):
    """The sharding of a batch: leading axis split over "data"."""
    return NamedSharding(mesh, PartitionSpec("data"))


def check_batch_size(batch_size, mesh):
    """ValueError unless a global batch of that size splits evenly over the mesh."""
    if batch_size < 1 or batch_size % mesh.size:
        raise ValueError(f"batch_size={batch_size} must be a positive multiple of the {mesh.size} devices")


def to_devices(batch, mesh):
    """This process's slice of a global batch (a dict of numpy arrays) as global arrays over the mesh."""
    sharding = batch_sharding(mesh)
    return {name: jax.make_array_from_process_local_data(sharding, np.asarray(array)) for name, array in batch.items()}
