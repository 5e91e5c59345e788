"""GPUs that are not here: what a compiler must know of them, and the compiler, which is in JAX's CUDA plugin.

The compiler asks no device. It is told what the device is: a `GpuTargetConfig`, written here from one line of figures a
GPU. The plugin holds all that compiling needs; of NVIDIA's own libraries none is loaded. So cuBLAS and cuDNN choose no
kernels: a matrix product is Triton's, with the tiles that XLA takes when it cannot try any.
"""

import dataclasses
import importlib
import pathlib
import sys
import types
from typing import Any

import jax
from jax._src.cudnn import fused_attention_stablehlo
from jax.experimental import topologies
from jax.experimental.compilation_cache import compilation_cache

from mqa_jax.errors import InputError

CUDNN = 9, 12, 0  # what JAX 0.12 asks for at the least
CUDA = 13, 0, 0


@dataclasses.dataclass(frozen=True)
class Gpu:
    """What the compiler is told of a GPU.

    Attributes:
      name: as the driver gives it.
      capability: CUDA's compute capability.
      cores: streaming multiprocessors; `lanes`: the float32 units of each.
      clock_ghz: at its highest.
      shared_bytes: that a core has; a block may ask for 1 KiB less.
      cache_bytes: the second level's.
      links: of NVLink.
    """

    name: str
    capability: tuple[int, int]
    cores: int
    lanes: int
    clock_ghz: float
    shared_bytes: int
    cache_bytes: int
    links: int

    def target(self, memory_bytes: int, memory_bytes_per_s: float) -> str:
        """The `GpuTargetConfig` in text form."""
        major, minor = self.capability
        version = ".".join(map(str, CUDA))
        device = {
            "name": f'"{self.name}"',
            "core_count": self.cores,
            "fpus_per_core": self.lanes,
            "clock_rate_ghz": self.clock_ghz,
            "device_memory_size": memory_bytes,
            "memory_bandwidth": int(memory_bytes_per_s),
            "l2_cache_size": self.cache_bytes,
            "shared_memory_per_core": self.shared_bytes,
            "shared_memory_per_block_optin": self.shared_bytes - 1024,
            "shared_memory_per_block": 48 << 10,
            "registers_per_core_limit": 1 << 16,
            "registers_per_block_limit": 1 << 16,
            "threads_per_warp": 32,
            "threads_per_block_limit": 1024,
            "threads_per_core_limit": 2048,
            "thread_dim_limit_x": 1024,
            "thread_dim_limit_y": 1024,
            "thread_dim_limit_z": 64,
            "block_dim_limit_x": 2**31 - 1,
            "block_dim_limit_y": 2**16 - 1,
            "block_dim_limit_z": 2**16 - 1,
            "device_address_bits": 64,
            "driver_version": f'"{version}"',
            "runtime_version": f'"{version}"',
            "compile_time_toolkit_version": f'"{version}"',
            "dnn_version": f'"{".".join(map(str, CUDNN))}"',
        }
        features = "ACCELERATED_FEATURES" if major >= 9 else "NONE"
        lines = [f"{key}: {value}" for key, value in device.items()]
        lines += [f"cuda_compute_capability {{ major: {major} minor: {minor} feature_extension: {features} }}"]
        lines += [f"device_interconnect_info {{ active_links: {self.links} }}"]
        text = ["gpu_device_info {", *lines, "}", 'platform_name: "CUDA"']
        for key, numbers in (("dnn_version_info", CUDNN), ("runtime_version", CUDA)):
            parts = " ".join(f"{name}: {part}" for name, part in zip(("major", "minor", "patch"), numbers, strict=True))
            text.append(f"{key} {{ {parts} }}")
        return "\n".join([*text, f'device_description_str: "{self.name}"'])


A100 = Gpu("NVIDIA A100-SXM4-80GB", (8, 0), 108, 64, 1.41, 164 << 10, 40 << 20, 12)
H100 = Gpu("NVIDIA H100 80GB HBM3", (9, 0), 132, 128, 1.98, 228 << 10, 50 << 20, 18)
H200 = Gpu("NVIDIA H200", (9, 0), 132, 128, 1.98, 228 << 10, 50 << 20, 18)
B200 = Gpu("NVIDIA B200", (10, 0), 148, 128, 1.965, 228 << 10, 126 << 20, 18)


def devices(target: str, shape: str) -> list[Any]:
    """Devices to compile for. JAX is on its CPU by then, or it would look for GPUs on this machine.

    Args:
      target: a `GpuTargetConfig` in text form.
      shape: `1x2x8`: two hosts of eight GPUs.
    Raises:
      InputError: the compiler is not on this machine.
    """
    jax.local_devices()  # by now JAX has the plugins that are installed beside it
    jax.config.update("jax_enable_compilation_cache", False)  # the compiler cannot read what it wrote without a GPU
    compilation_cache.reset_cache()  # which else goes on as it began
    try:
        found = topologies.get_topology_desc(platform="cuda", target_config=target, topology=shape)
    except NotImplementedError:
        _add_plugin()
        found = topologies.get_topology_desc(platform="cuda", target_config=target, topology=shape)
    # Before it traces an attention for cuDNN, JAX asks for that of this machine, and for the GPU of this machine.
    there, version = float(found.devices[0].compute_capability), CUDNN[0] * 10_000 + CUDNN[1] * 100 + CUDNN[2]
    answers = {
        "cuda_versions": types.SimpleNamespace(cudnn_get_version=lambda: version),
        "check_compute_capability": lambda least: there >= float(least),
    }
    for name, answer in answers.items():
        setattr(fused_attention_stablehlo, name, answer)
    return found.devices


def _add_plugin() -> None:
    """Gives JAX the CUDA plugin that `make gpu` put beside the environment's packages. Among them, JAX would look for a
    GPU at every start."""
    sys.path.append(str(pathlib.Path(sys.prefix) / "gpu"))
    try:
        importlib.import_module("jax_plugins.xla_cuda13").initialize()
    except ImportError as error:
        raise InputError(
            "planning for a GPU needs JAX 0.12 and its CUDA plugin; run `make gpu` or pip install 'mqa_jax[cuda]'"
        ) from error
