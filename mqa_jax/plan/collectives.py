"""The exchanges between devices in a compiled program, read from its optimised HLO text."""

import dataclasses
import math
import re

SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "s64": 8, "u64": 8, "f64": 8}
KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute|collective-broadcast"
_OPERATION = re.compile(rf"= (?P<result>.*?) (?P<kind>{KINDS})(?P<start>-start)?\((?P<operands>[^)]*)\)(?P<rest>.*)")
_ARRAY = re.compile(r"\b([a-z]+\d+|pred)\[([\d,]*)\]")
_CALLED = re.compile(r"(?:calls|to_apply|body|condition|branch_computations)=(?:\{([^}]*)\}|%?([\w.-]+))")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One exchange.

    Attributes:
      kind: its name in HLO.
      bytes: of the full array on each device: an all-gather's result, a reduce-scatter's operand.
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


def collectives(text: str, devices: int) -> list[Collective]:
    """Every exchange of a module among `devices` devices, as often as it is run: a loop that counts to a constant is
    multiplied out."""
    bodies = computations(text)
    entry = [name for name, lines in bodies.items() if any(line.startswith("ENTRY") for line in lines)]
    return _exchanges(bodies, _passes(bodies, dict.fromkeys(entry or bodies, 1)), devices)


def collectives_of_a_pass(text: str, devices: int) -> list[Collective]:
    """Every exchange in one pass of the module's outermost loops."""
    bodies = computations(text)
    inner = {called for name in _bodies(bodies) for called in _passes(bodies, {name: 1}) if called != name}
    outer = [name for name in _bodies(bodies) if name not in inner]
    return _exchanges(bodies, _passes(bodies, dict.fromkeys(outer, 1)), devices)


def _bodies(bodies: dict[str, list[str]]) -> list[str]:
    found = (name for lines in bodies.values() for line in lines for name in re.findall(r"body=%?([\w.-]+)", line))
    return [name for name in dict.fromkeys(found) if name in bodies]


def _passes(bodies: dict[str, list[str]], first: dict[str, int]) -> dict[str, int]:
    """How often each computation is run, from those that are run first; called from several places, the most often."""
    passes, waiting = dict(first), list(first)
    while waiting:
        name = waiting.pop()
        for line in bodies[name]:
            loop = re.search(r"condition=%?([\w.-]+)", line)
            times = passes[name] * (_count(bodies.get(loop[1], [])) if loop else 1)
            for called in (each.strip(" %") for found in _CALLED.findall(line) for each in "".join(found).split(",")):
                if called in bodies and passes.get(called, 0) < times:
                    passes[called] = times
                    waiting.append(called)
    return passes


def _count(condition: list[str]) -> int:
    """The passes of a loop whose condition compares a counter with a constant; 1 if it is of another kind."""
    constants = dict(re.findall(r"(%[\w.-]+) = [su]32\[\]\S* constant\((\d+)\)", "\n".join(condition)))
    compared = re.search(r"ROOT .* compare\((.*?), ?(.*?)\), direction=LT", "\n".join(condition))
    return int(constants.get(compared[2].split()[-1], 1)) if compared else 1


def _exchanges(bodies: dict[str, list[str]], passes: dict[str, int], devices: int) -> list[Collective]:
    """The exchanges of some computations. One that the compiler runs beside other work stands in several of them, for
    its start, its progress and its end: its channel tells."""
    found, seen = [], set()
    for name, times in passes.items():
        for line in bodies[name]:
            exchange, channel = _exchange(line, devices), re.search(r"channel_id=(\d+)", line)
            if exchange and not (channel and channel[1] in seen):
                seen.update([channel[1]] if channel else [])
                found += [exchange] * times
    return found


def _exchange(line: str, devices: int) -> Collective | None:
    match = _OPERATION.search(line)
    if not match:
        return None
    kind, count = match["kind"], _group(match["rest"], devices)
    sizes = [_bytes(*array) for array in _ARRAY.findall(match["result"])]
    if match["start"] and kind != "all-reduce":  # gives its operands back before its results
        sizes = sizes[len(sizes) // 2 :] if kind == "all-gather" else sizes[1:2]
    size = sum(sizes) * (count if kind == "reduce-scatter" else 1)
    return Collective(kind, size, count) if count > 1 else None


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
