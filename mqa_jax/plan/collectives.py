"""The exchanges between devices in a compiled program, read from its optimised HLO text."""

import dataclasses
import math
import re
from collections.abc import Iterator

SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "s64": 8, "u64": 8, "f64": 8}
KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute|collective-broadcast"
_OPERATION = re.compile(rf"= (?P<result>.*?) (?P<kind>{KINDS})(?P<start>-start)?\((?P<operands>[^)]*)\)(?P<rest>.*)")
_ARRAY = re.compile(r"\b([a-z]+\d+|pred)\[([\d,]*)\]")
_CALLED = re.compile(r"(?:calls|to_apply|body|condition|branch_computations|async_execution_thread)=\{?(%?[\w.,% -]+)")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One exchange.

    Attributes:
      kind: its name in HLO.
      bytes: of the whole array on each device: an all-gather's result, a reduce-scatter's operand.
      devices: how many exchange with each other.
    """

    kind: str
    bytes: int
    devices: int

    def sent(self, devices_per_chip: int) -> float:
        """Bytes that must leave each chip at the least; devices of one chip combine theirs first."""
        chips = max(1.0, self.devices / devices_per_chip)
        if self.kind == "collective-permute":
            return float(self.bytes)
        return (2 if self.kind == "all-reduce" else 1) * self.bytes * (chips - 1) / chips


def computations(text: str) -> dict[str, list[str]]:
    """The lines of each computation of a module, by its name."""
    bodies: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line[:1] not in ("", " ", "}") and line.endswith("{"):
            found = re.match(r"(?:ENTRY )?%?([\w.-]+)", line)
            name = found[1] if found else ""
        bodies.setdefault(name, []).append(line)
    return bodies


def inside_loops(text: str) -> str:
    """The lines that a pass of the program's loops runs, with all that they call."""
    bodies = computations(text)
    waiting, seen = re.findall(r"body=%?([\w.-]+)", text), set()
    while waiting:
        name = waiting.pop()
        if name in bodies and name not in seen:
            seen.add(name)
            for line in bodies[name]:
                for called in _CALLED.findall(line):
                    waiting += [each.strip(" %") for each in called.split(",")]
    return "\n".join(line for name in sorted(seen) for line in bodies[name])


def collectives(text: str, devices: int) -> list[Collective]:
    """Every exchange of a module among `devices` devices, each once: loops are not multiplied out."""
    return list(_found(text, devices))


def _found(text: str, devices: int) -> Iterator[Collective]:
    for match in _OPERATION.finditer(text):
        kind, count = match["kind"], _group(match["rest"], devices)
        sizes = [_bytes(*array) for array in _ARRAY.findall(match["result"])]
        if match["start"] and kind != "all-reduce":  # gives its operands back before its results
            sizes = sizes[len(sizes) // 2 :] if kind == "all-gather" else sizes[1:2]
        whole = sum(sizes) * (count if kind == "reduce-scatter" else 1)
        if count > 1:
            yield Collective(kind, whole, count)


def _bytes(kind: str, dimensions: str) -> int:
    return SIZES.get(kind, 4) * math.prod(int(each) for each in dimensions.split(",") if each)


def _group(attributes: str, devices: int) -> int:
    """The size of a collective's groups, from any of the three notations of `replica_groups`."""
    mesh = re.search(r"replica_groups=mesh\[([^\]]*)\] ?\{([^}]*)\}", attributes)
    if mesh:
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", mesh[1])}
        parts = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", mesh[2])
        return math.prod(int(part) if part else sizes[name] for name, part in parts) if parts else devices
    table = re.search(r"replica_groups=\[\d+,(\d+)\]", attributes)
    if table:
        return int(table[1])
    listed = re.search(r"replica_groups=\{\{([\d, ]+)\}", attributes)
    if listed:
        return listed[1].count(",") + 1
    return devices
