"""A program compiled for devices that are not here: what it holds, does and exchanges, or how much too large it is."""

import dataclasses
import re
import time
from typing import Any

import jax

from mqa_jax.errors import InputError
from mqa_jax.plan import collectives
from mqa_jax.plan.collectives import Collective


@dataclasses.dataclass(frozen=True)
class Held:
    """Bytes on each device while a program runs, and the arrays among them by kind.

    Attributes:
      kinds: bytes of the program's own inputs by kind, as their shapes give them.
      padding: what the device's layouts add to those.
      temporaries: activations, gradients, everything between.
      code: the program itself.
    """

    kinds: dict[str, int]
    padding: int
    temporaries: int
    code: int

    @property
    def total(self) -> int:
        return sum(self.kinds.values()) + self.padding + self.temporaries + self.code


@dataclasses.dataclass(frozen=True)
class Program:
    """What the compiler made. `flops` and `bytes_accessed` are its cost model's, a device's, each loop run once."""

    held: Held
    flops: float
    bytes_accessed: float
    exchanges: tuple[Collective, ...]
    compile_s: float


@dataclasses.dataclass(frozen=True)
class TooLarge:
    """A program that the compiler found no room for; `reason` is its own line."""

    kinds: dict[str, int]
    reason: str


def compile_for(
    jitted: Any, arguments: tuple[Any, ...], kinds: dict[str, Any], devices: int, loops_only: bool
) -> Program | TooLarge:
    """Compiles a jitted function for arguments given as shapes that carry their shardings.

    Args:
      kinds: trees of those shapes by what they are, for the account of memory.
      devices: how many the program runs on.
      loops_only: whether the exchanges of one pass of its loop count (a decode's step), or those of all the program.
    """
    start = time.perf_counter()
    sizes = {kind: device_bytes(tree) for kind, tree in kinds.items()}
    try:
        compiled = jitted.lower(*arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        if "should include all slice devices" in str(error):
            raise InputError(
                f"the compiler makes no program for {devices} of this topology's devices, which decoding over "
                f"config.mesh.tensor={devices} needs; plan it on a smaller topology or with --config.mesh.tensor=1"
            ) from error
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return TooLarge(sizes, _reason(str(error)))
    memory, cost, text = compiled.memory_analysis(), compiled.cost_analysis(), compiled.as_text()
    held = Held(
        sizes,
        padding=memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        - sum(sizes.values()),
        temporaries=memory.temp_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
    )
    read = collectives.collectives_of_a_pass if loops_only else collectives.collectives
    return Program(
        held,
        cost["flops"],
        cost["bytes accessed"],
        tuple(read(text, devices)),
        time.perf_counter() - start,
    )


def device_bytes(tree: Any) -> int:
    """Bytes on one device of a tree of shapes with shardings."""

    def size(shape: Any) -> int:
        parts = jax.ShapeDtypeStruct(shape.sharding.shard_shape(shape.shape), shape.dtype)
        return parts.size * parts.dtype.itemsize

    return sum(size(each) for each in jax.tree.leaves(tree))


def _reason(error: str) -> str:
    """The compiler's sentence about memory, without its codes."""
    line = next((line for line in error.splitlines() if "emory" in line or "hbm" in line.lower()), error)
    return re.sub(r"^(\w+: )*", "", line.strip()).rstrip(".")
