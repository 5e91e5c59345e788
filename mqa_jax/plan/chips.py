"""TPUs and GPUs that are not here: their published peaks, and the topologies that their compilers know.

Peaks are a chip's, in bfloat16. A device of JAX is a chip, but a core, half a chip, on v2 and v3. Operations and memory
of v3 and v4 are those of Google's pages (docs.cloud.google.com/tpu/docs/v3 and /v4), read; of v5e, v5p and v6e those of
the pages of these versions. All of v2, and the interconnect of v2, v3 and v4, are from memory, unverified (v2 and v3 as
in Jouppi et al. 2020, A Domain-Specific Supercomputer for Training Deep Neural Networks, CACM 63:7).
The interconnect counts what leaves a chip over all its links; where a page gives both directions, half of it.

A GPU is a chip with one device. Its figures are from NVIDIA's data sheets of the SXM modules as remembered, unverified:
dense operations, NVLink in one direction, and the memory that XLA finds, which is a little less than what is sold.
Between hosts too the floor counts NVLink; a network is slower.
"""

import dataclasses
import functools
import importlib.util
import math
import os
import pathlib
import sys
from typing import Any

import jax
from jax.experimental import topologies

from mqa_jax.errors import InputError
from mqa_jax.plan import gpus
from mqa_jax.plan.gpus import Gpu
from mqa_jax.timing.peaks import PUBLISHED, Peaks

FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
HOSTS = ("1x1x1", "1x1x2", "1x1x4", "1x1x8", "1x2x8", "1x4x8", "1x8x8", "1x16x8", "1x32x8")
CUBIC = ("1x1x1", "2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8")


@dataclasses.dataclass(frozen=True)
class Chip:
    """A TPU version, or a GPU.

    Attributes:
      flops_per_s: matmul operations in bfloat16, a multiply-add is two.
      memory_bytes, memory_bytes_per_s: of HBM.
      link_bytes_per_s: out of the chip to its neighbours, all links together.
      shapes: topologies of 1 to 256 chips. A GPU's have hosts and the GPUs of each behind a 1.
      devices: of a chip.
      options: what libtpu is told so that its devices are those of the machine (v4: both cores of a chip are one).
      gpu: what a GPU's compiler is told of it; None for a TPU.
    """

    flops_per_s: float
    memory_bytes: int
    memory_bytes_per_s: float
    link_bytes_per_s: float
    shapes: tuple[str, ...]
    devices: int = 1
    options: tuple[tuple[str, str], ...] = ()
    gpu: Gpu | None = None


def _gpu(gpu: Gpu, memory_bytes: int, link_bytes_per_s: float) -> Chip:
    bytes_per_s, flops_per_s = PUBLISHED[gpu.name]
    return Chip(flops_per_s, memory_bytes, bytes_per_s, link_bytes_per_s, HOSTS, gpu=gpu)


CHIPS = {
    "v2": Chip(46e12, 16 << 30, 700e9, 4 * 62e9, FLAT, devices=2),
    "v3": Chip(123e12, 32 << 30, 900e9, 4 * 82e9, FLAT, devices=2),
    "v4": Chip(275e12, 32 << 30, 1200e9, 300e9, CUBIC, options=(("chip_config_name", "megacore"),)),
    "v5e": Chip(197e12, 16 << 30, 819e9, 200e9, FLAT),
    "v5p": Chip(459e12, 95 << 30, 2765e9, 600e9, CUBIC),
    "v6e": Chip(918e12, 32 << 30, 1638e9, 400e9, FLAT),
    "a100": _gpu(gpus.A100, 85_100_068_864, 300e9),
    "h100": _gpu(gpus.H100, 84_942_979_072, 450e9),
    "h200": _gpu(gpus.H200, 151_397_597_184, 450e9),
    "b200": _gpu(gpus.B200, 191_514_411_008, 900e9),
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """Chips that hang together. Only `devices`, which are there to compile for, need a compiler."""

    name: str
    chip: Chip
    chips: int

    @property
    def size(self) -> int:
        """The number of devices."""
        return self.chips * self.chip.devices

    @property
    def memory_bytes(self) -> int:
        """Of a device."""
        return self.chip.memory_bytes // self.chip.devices

    def peaks(self, devices: int = 1) -> Peaks:
        """The published peaks of some devices together."""
        chips = devices / self.chip.devices
        flops_per_s = chips * self.chip.flops_per_s
        return Peaks(chips * self.chip.memory_bytes_per_s, flops_per_s, flops_per_s)

    @functools.cached_property
    def devices(self) -> tuple[Any, ...]:
        """What JAX compiles for.

        Raises:
          InputError: the compiler is not on this machine.
        """
        jax.config.update("jax_platforms", "cpu")  # else JAX, with the compiler there, would look for its devices here
        chip = self.chip
        if chip.gpu:
            target = chip.gpu.target(chip.memory_bytes, chip.memory_bytes_per_s)
            return tuple(gpus.devices(target, self.name.partition(":")[2]))
        _find_compiler()
        return tuple(topologies.get_topology_desc(self.name, platform="tpu", **dict(chip.options)).devices)


def topology(name: str) -> Topology:
    """The topology of a name such as `v5e:4x4` or `h100:1x1x8`: a TPU version and its chips along each axis, or a GPU,
    hosts and GPUs of a host.

    Raises:
      InputError: there is no such topology.
    """
    version, _, shape = name.partition(":")
    if version not in CHIPS or shape not in CHIPS[version].shapes:
        lines = [f"{each}:{'|'.join(chip.shapes)}" for each, chip in CHIPS.items()]
        raise InputError(f"--topology={name} is unknown; choose from: {', '.join(lines)}")
    return Topology(name, CHIPS[version], math.prod(map(int, shape.split("x"))))


def _find_compiler() -> None:
    """Points JAX to libtpu: an installed one, or the one that `make tpu` put beside the environment's packages, where
    JAX does not look for TPUs at every start because of it."""
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # this machine is no TPU host, and need not ask whether it is
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # several may compile; there is no TPU to fight over
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v2-8")  # of this machine: else libtpu complains that it has none
    if os.environ.get("TPU_LIBRARY_PATH") or importlib.util.find_spec("libtpu"):
        return
    library = pathlib.Path(sys.prefix) / "tpu" / "libtpu" / "libtpu.so"
    if not library.exists():
        raise InputError("planning needs the TPU compiler, libtpu; run `make tpu` or pip install 'mqa_jax[tpu]'")
    os.environ["TPU_LIBRARY_PATH"] = str(library)
