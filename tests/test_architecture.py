"""Imports point down only, and a few rules of the house, read off the source with `ast`."""

import ast
import functools
import graphlib
import pathlib
import sys
import tomllib

import setuptools

from mqa_jax import start

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "mqa_jax"

# From the ground up. A unit, a package or a module of mqa_jax, may import only from floors below its own; the
# modules of the ground floor may also import each other.
FLOORS = (
    ("errors", "batch", "files", "tokens", "progress", "processes"),
    ("kernels",),
    ("layers",),
    ("attention",),
    ("experiment",),
    ("config", "records", "workdir", "workers"),
    ("sharding", "model", "data", "report"),
    ("train", "decode"),
    ("timing", "evaluate", "interop"),
    ("compare", "plan"),
    ("compare_heads",),
    ("command",),
    ("commands",),
    ("start",),
    ("scripts",),
)
FLOOR_OF = {unit: floor for floor, units in enumerate(FLOORS) for unit in units}


@functools.cache
def sources() -> list[pathlib.Path]:
    return [*sorted(PACKAGE.rglob("*.py")), *sorted((ROOT / "scripts").glob("*.py"))]


def name_of(path: pathlib.Path) -> str:
    """`mqa_jax/model/cache.py` -> `mqa_jax.model.cache`; a package goes by its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def unit_of(module: str) -> str:
    """`mqa_jax.model.cache` -> `model`, `scripts.train` -> `scripts`."""
    first, *rest = module.split(".")
    return rest[0] if first == "mqa_jax" else first


@functools.cache
def imports(path: pathlib.Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function; `from a import b` gives a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import in line {node.lineno}"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@functools.cache
def inner_imports(path: pathlib.Path) -> set[str]:
    """The modules of mqa_jax among them, without the names that are imported from inside a module."""
    modules = {name_of(each) for each in sources() if name_of(each).startswith("mqa_jax")}
    named = {name for name in imports(path) if name.split(".")[0] == "mqa_jax"}
    found = {name if name in modules else name.rpartition(".")[0] for name in named} - {"mqa_jax"}
    assert found <= modules, f"{path} imports {sorted(found - modules)}, which are not there"
    return found


def importers(library: str) -> set[str]:
    """The files, scripts included, that import a library."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in sources()
        if any(name.split(".")[0] == library for name in imports(path))
    }


def test_the_floors_are_those_of_the_source():
    units = {unit_of(name_of(path)) for path in sources() if name_of(path) != "mqa_jax"}
    assert units == FLOOR_OF.keys()


def test_imports_point_down():
    upward = [
        f"{name_of(path)} imports {other}"
        for path in sources()
        for other in inner_imports(path)
        if (here := unit_of(name_of(path))) != (there := unit_of(other))
        and not FLOOR_OF[there] < FLOOR_OF[here]
        and not (FLOOR_OF[here] == FLOOR_OF[there] == 0)
    ]
    assert not upward


def test_no_circle_of_imports():
    order = graphlib.TopologicalSorter({name_of(path): inner_imports(path) for path in sources()})
    order.prepare()  # raises CycleError, which names the circle


def test_scripts_are_imported_by_nothing():
    assert not importers("scripts")


def test_only_tfds_is_read_through_tensorflow_datasets_and_nothing_needs_tensorflow():
    assert importers("tensorflow_datasets") == {"mqa_jax/data/tfds.py"}
    assert not importers("tensorflow")


def test_only_the_edges_know_config_dicts():
    inside = {name for name in importers("ml_collections") if name.startswith("mqa_jax/")}
    assert inside == {"mqa_jax/config.py", "mqa_jax/command.py"}
    readers = {unit_of(name_of(path)) for path in sources() if "mqa_jax.config" in inner_imports(path)}
    assert readers == {"commands"}


def test_reports_run_nothing():
    for library in ("jax", "flax", "optax", "orbax", "grain"):
        assert not {name for name in importers(library) if name.startswith("mqa_jax/report/")}, library


def test_no_drawer_for_odds_and_ends():
    assert not [path for path in sources() if path.stem in ("utils", "util", "helpers", "common", "misc")]


def test_commands_are_short_and_scripts_only_start_them():
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in (PACKAGE / "commands").glob("*.py")}
    assert lines and max(lines.values()) < 90, lines
    for path in (ROOT / "scripts").glob("*.py"):
        assert inner_imports(path) == {"mqa_jax.start"} and f"start.{path.stem}()" in path.read_text(encoding="utf-8")


def test_every_command_has_a_script_and_is_installed():
    commands = {path.stem for path in (PACKAGE / "commands").glob("*.py")} - {"__init__"}
    assert commands == {path.stem for path in (ROOT / "scripts").glob("*.py")}
    installed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert {f"mqa_jax.start:{name}" for name in commands} == set(installed.values())
    for name in commands:
        assert getattr(start, name).args == (name,)


def test_nothing_is_imported_before_the_handlers_of_signals():
    assert inner_imports(PACKAGE / "start.py") == set()
    assert {name.split(".")[0] for name in imports(PACKAGE / "start.py")} <= sys.stdlib_module_names


def test_the_package_holds_the_configs():
    """Through a link that setuptools follows; so a wheel holds the files, and they have names."""
    there = {path.name for path in (ROOT / "configs").glob("*.py")}
    assert there == {path.name for path in (PACKAGE / "configs").glob("*.py")} != set()
    assert "mqa_jax.configs" in setuptools.find_namespace_packages(str(ROOT), include=["mqa_jax*"])


def test_no_test_is_marked_to_be_left_out():
    marks = {"skip", "skipif", "xfail", "importorskip"}
    found = [
        f"{path.name}, line {node.lineno}"
        for path in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in marks
    ]
    assert not found
