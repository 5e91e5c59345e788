"""One mesh with axes `data`, `fsdp` and `tensor`, and the table that maps logical axes onto it.

Parameters carry logical axis names; `RULES` says which mesh axis each is split over. A dimension that the
mesh axis does not divide is replicated: that is what happens to the single write head of multi-query
attention under tensor parallelism, while its query heads stay split.
"""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mqa_jax.errors import InputError
from mqa_jax.experiment import MeshConfig

# logical axis   -> mesh axes
RULES: Mapping[str, tuple[str, ...]] = {
    "batch": ("data", "fsdp"),
    "vocabulary": ("tensor",),
    "width": ("fsdp",),
    "hidden": ("tensor",),
    "heads": ("tensor",),
    "write_heads": ("tensor",),
    "head_size": (),
    "latent": (),
    "position": (),
    "norm": (),
}


def training_devices(local: bool = False) -> list[Any]:
    """All devices of all processes, or of this one; but the cores of a process's CPU count as one, which shares each
    product, unless XLA_FLAGS make them more."""
    devices = jax.local_devices() if local else jax.devices()
    if devices[0].platform != "cpu" or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return devices
    return list({device.process_index: device for device in reversed(devices)}.values())[::-1]


def make_mesh(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh over all devices, or those given. One axis may be -1 and takes what is left.

    Raises:
      InputError: the axes do not multiply to the number of devices.
    """
    devices = training_devices() if devices is None else devices
    sizes = {"data": config.data, "fsdp": config.fsdp, "tensor": config.tensor}
    free = [axis for axis, size in sizes.items() if size == -1]
    fixed = math.prod(size for size in sizes.values() if size != -1)
    if len(free) > 1 or fixed < 1 or len(devices) % fixed or (not free and fixed != len(devices)):
        shape = ", ".join(f"{axis}={size}" for axis, size in sizes.items())
        raise InputError(f"config.mesh ({shape}) does not fit {len(devices)} devices; set one axis to -1 to fill up")
    for axis in free:
        sizes[axis] = len(devices) // fixed
    return jax.make_mesh(tuple(sizes.values()), tuple(sizes), axis_types=(AxisType.Auto,) * 3, devices=devices)


def groups(config: MeshConfig, devices: Sequence[Any]) -> list[Mesh]:
    """Devices that decode: each group of `config.tensor` has one replica of the model, whatever `data` and `fsdp` are.

    Raises:
      InputError: `config.tensor` does not divide the devices.
    """
    size, most = config.tensor, len(devices)
    if size == -1:
        size = most // max(1, config.data * config.fsdp)
    if size < 1 or most % size:
        sizes = ", ".join(str(n) for n in range(1, most + 1) if most % n == 0)
        raise InputError(
            f"config.mesh.tensor={config.tensor} does not divide the {most} devices that decode; set "
            f"--config.mesh.tensor to one of {sizes} (1: each device has the whole model)"
        )
    mesh = make_mesh(MeshConfig(-1, 1, size), devices)
    return [Mesh(each[None], mesh.axis_names, axis_types=mesh.axis_types) for each in mesh.devices]


def check_rows(rows: int, mesh: Mesh) -> None:
    """Raises InputError unless the mesh's data-parallel devices divide `rows`, the rows of a batch."""
    devices = _data_parallel(mesh)
    if rows % devices:
        raise InputError(
            f"a batch of {rows} rows cannot be shared by {devices} devices (config.mesh: data x fsdp); set a multiple "
            f"of {devices} (training: config.data.rows), or a larger config.mesh.tensor"
        )


def _data_parallel(mesh: Mesh) -> int:
    return math.prod(mesh.shape[axis] for axis in RULES["batch"])


def partition(axes: Sequence[str], shape: Sequence[int], mesh: Mesh) -> PartitionSpec:
    """Where an array of `shape` with the named logical `axes` lies on the mesh."""
    used: set[str] = set()
    spec: list[Any] = []
    for axis, size in zip(axes, shape, strict=True):
        names = [name for name in RULES[axis] if name not in used and mesh.shape[name] > 1]
        if size % math.prod(mesh.shape[name] for name in names):
            names = []  # whole on each device
        used.update(names)
        spec.append(tuple(names))
    return PartitionSpec(*spec)


def parameter_shardings(axes: Any, shapes: Any, mesh: Mesh) -> Any:
    """A tree of shardings for a tree of parameters: `axes` holds a tuple of names where `shapes` has an array."""
    return jax.tree.map(lambda shape, names: NamedSharding(mesh, partition(names, shape.shape, mesh)), shapes, axes)


def placed(shapes: Any, where: Any) -> Any:
    """A tree of shapes with the shardings of a tree like it, as a compiler takes them."""
    return jax.tree.map(lambda x, at: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), shapes, where)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows of a batch over all data-parallel devices."""
    return NamedSharding(mesh, PartitionSpec(RULES["batch"]))


def keep_rows(x: jax.Array, mesh: Mesh) -> jax.Array:
    """`x` [B, ...] inside a jitted function, its rows lying where the batch's do, each in one piece.

    XLA would otherwise let activations follow the embedding, whose width `fsdp` splits: every device would work on a
    part of the width of all rows, and exchange activations at every product in place of weights.
    """
    if mesh.size == 1 or len(x) % _data_parallel(mesh):
        return x
    return jax.lax.with_sharding_constraint(x, batch_sharding(mesh))


def keep_width(table_VD: jax.Array, mesh: Mesh) -> jax.Array:
    """A table and, backwards, its gradient with their full width on every device that has a part of the vocabulary."""
    if mesh.size == 1:
        return table_VD
    spec = PartitionSpec(partition(("vocabulary", "width"), table_VD.shape, mesh)[0])
    return jax.lax.with_sharding_constraint(table_VD, NamedSharding(mesh, spec))


def own_rows(rows: int, mesh: Mesh) -> list[int]:
    """Which rows of a batch lie on this process's devices, in order."""
    indices = _where(rows, mesh).addressable_devices_indices_map((rows,)).values()
    return sorted({row for index in indices if index for row in range(*index[0].indices(rows))})


def place(batch: Any, mesh: Mesh, rows: int, held: Sequence[int]) -> Any:
    """A batch of `rows` rows, each on its devices alone, of which every process gives some.

    Rows that the mesh does not divide lie on every device.

    Args:
      batch: host arrays of the rows `held`, in that order.
      held: this process's own rows at least.
    """
    where, place_of = _where(rows, mesh), np.full(rows, -1)
    place_of[list(held)] = np.arange(len(held))

    def placed(x: np.ndarray) -> jax.Array:
        def of_device(index: Any) -> np.ndarray:
            return x[place_of[index[0]]]

        return jax.make_array_from_callback((rows, *x.shape[1:]), where, of_device)

    return jax.tree.map(placed, batch)


def _where(rows: int, mesh: Mesh) -> NamedSharding:
    return batch_sharding(mesh) if rows % _data_parallel(mesh) == 0 else replicated(mesh)


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on every device."""
    return NamedSharding(mesh, PartitionSpec())
