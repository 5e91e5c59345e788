"""How many devices share a batch of decoding, and what a process does on a CPU before it uses JAX.

Of accelerators all that the process has. Each core of a CPU can be a device of its own, and a small model decodes
faster in parts: its products are so short that sharing each one between cores costs more in waiting than it saves.
Parts need nothing from each other, so they never wait. A large model is the other way round: its products keep all
cores busy, and every part would read all its weights.
"""

import ctypes
import gc
import glob
import os
import platform

import jax

LEAST_ROWS = 8  # of a part
SMALL = 32_000_000  # parameters


def parts_of(batch: int, beams: int, parameters: int, most: int) -> int:
    """How many equal parts of a batch are decoded at once.

    Args:
      batch: sentences.
      parameters: of the model.
      most: parts; the devices of this process, or the groups of them that share a model.
    """
    least = 1
    if jax.local_devices()[0].platform == "cpu":
        most, least = most if parameters <= SMALL else 1, LEAST_ROWS
    whole = [n for n in range(1, most + 1) if batch % n == 0]
    return max(n for n in whole if n == 1 or batch // n * beams >= least)


def is_cpu() -> bool:
    """Whether JAX will compute on the CPU. Told from the machine: to ask JAX starts it, and settles its devices."""
    platforms = jax.config.jax_platforms
    if platforms:
        return platforms.split(",")[0] == "cpu"
    return not any(map(glob.glob, ("/dev/nvidia[0-9]*", "/dev/kfd", "/dev/accel[0-9]*", "/dev/vfio/[0-9]*")))


def cores() -> int:
    """Of the CPU, that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_cores_devices() -> None:
    """Makes each core of a CPU a device, for `parts_of`; leaves it to XLA_FLAGS where they set a number."""
    if is_cpu() and "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", cores())


def keep_freed_memory() -> None:
    """Has glibc keep freed memory for the next use, in one heap. For training and int8 decoding, before JAX is used.

    XLA on a CPU asks for the memory of a step anew each time, and so do its int8 products for copies of an operand. The
    kernel hands such blocks out a zeroed page at a time. Other decoding allocates little and gains nothing; there one
    heap's gaps would add to the peak.
    """
    if is_cpu() and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option, value in ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 2**28)):
            libc.mallopt(option, value)
        _use_huge_pages(libc)


def give_back_freed_memory() -> None:
    """What `keep_freed_memory` kept, between works of other shapes: the heap's gaps would add up."""
    if is_cpu() and platform.libc_ver()[0] == "glibc":
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)


def _use_huge_pages(libc: ctypes.CDLL) -> None:
    """Marks the address space that the heap will grow into for pages of 2 MB, where the kernel gives them on request
    only. No memory is used by this itself."""
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.free.argtypes = [ctypes.c_void_p]
    block = libc.malloc(size)
    if block:
        start = -(-block // _HUGE_PAGE) * _HUGE_PAGE
        libc.madvise(start, (block + size - start) // _HUGE_PAGE * _HUGE_PAGE, _MADV_HUGEPAGE)
        libc.free(block)


_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8  # of mallopt(3)
_MADV_HUGEPAGE, _HUGE_PAGE = 14, 2**21  # of madvise(2)
