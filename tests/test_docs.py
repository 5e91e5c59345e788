"""What the documents name is there: links, figures, files, and the flags, variants, keys and targets of commands."""

import ast
import importlib.util
import pathlib
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from mqa_jax import config

ROOT = pathlib.Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "RESULTS.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"(scripts/\w+\.py|\bmqa-[\w-]+)(.*)")
INSTALLED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def tokens(document: pathlib.Path) -> Iterator[Token]:
    for block in MarkdownIt("commonmark").enable("table").parse(document.read_text(encoding="utf-8")):
        yield block
        yield from block.children or ()


def code(document: pathlib.Path) -> list[str]:
    """The lines of code blocks, those that a backslash continues joined, and code inside sentences."""
    found = [token.content for token in tokens(document) if token.type in ("fence", "code_inline")]
    return [line for text in found for line in re.sub(r"\\\n\s*", "", text).splitlines()]


def anchors(document: pathlib.Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def flags_by_function(path: pathlib.Path) -> dict[str, set[str]]:
    """The flags that each function of a file defines; those of its top level under the name ''."""
    found: dict[str, set[str]] = {}
    for part in ast.parse(path.read_text(encoding="utf-8")).body:
        for node in ast.walk(part):
            if isinstance(node, ast.Call) and (kind := re.fullmatch(r"flags\.DEFINE_(\w+)", ast.unparse(node.func))):
                name = ast.literal_eval(node.args[0])
                names = {name, f"no{name}"} if kind[1] in ("bool", "boolean") else {name}
                found.setdefault(getattr(part, "name", ""), set()).update(names)
    return found


def flags_of(command: str) -> set[str]:
    """Every flag of `scripts/NAME.py`, of an installed command or of any (`*`): its own, and those of the functions of
    `command` that it calls."""
    shared = flags_by_function(ROOT / "mqa_jax" / "command.py") | {"config_flag": {"config"}}
    shared["decoding_run"] |= shared["decoding_types"]  # which it calls
    found, name = {"help"}, INSTALLED.get(command, command).removeprefix("mqa_jax.start:")
    for path in (ROOT / "mqa_jax" / "commands").glob(f"{pathlib.Path(name).stem}.py"):
        text = path.read_text(encoding="utf-8")
        called = [flags for function, flags in shared.items() if f"command.{function}(" in text]
        found |= flags_by_function(path).get("", set()).union(*called)
    assert found != {"help"}, f"there is no {command}"
    return found


def flags_of_soak() -> set[str]:
    """Its own, and --config, which it hands on to train.py."""
    return {"config", *re.findall(r'add_argument\("--(\w+)"', (ROOT / "tests" / "soak.py").read_text(encoding="utf-8"))}


def config_of(name: str, variant: str | None) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*[variant] if variant else [])


def has_key(block: Any, key: str) -> bool:
    for name in key.split("."):
        if name not in block:
            return False
        block = block[name]
    return True


@each_document
def test_links_lead_somewhere(document):
    for token in tokens(document):
        target = token.attrGet("href") or token.attrGet("src")
        if target is None or "://" in str(target):
            continue
        path, _, anchor = str(target).partition("#")
        file = (document.parent / path) if path else document
        assert file.exists(), f"{document.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{document.name} links to {target}"


@each_document
def test_files_that_are_named_are_there(document):
    for line in code(document):
        for path in re.findall(r"(?<![\w/.])(?:mqa_jax|scripts|configs|tests|docs|results)/[a-z_][\w/.-]*[\w/]", line):
            assert (ROOT / path).exists(), f"{document.name} names {path}"


@each_document
def test_commands_are_real(document):
    """Each flag is its script's, each variant and key its config's, each target the Makefile's."""
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for line in code(document):
        for target in re.findall(r"^make (\w+)", line):
            assert target in targets, f"{document.name}: {line}"
        named = None
        for name, variant in re.findall(r"(?:--config=|configs/)+(\w+)(?:\.py)?(?::(\w+))?", line):
            named = named if name == "runs" else config_of(name, variant)  # a run's folder is a config too
        commands = COMMAND.findall(line) or [("*", line)]  # a flag by itself is one of any command
        if line.startswith("pip "):
            continue
        for command, rest in commands:
            flags = flags_of_soak() if "tests/soak.py" in line else flags_of(command)
            unknown = set(re.findall(r"(?<!\S)--([a-z_]\w*)(?![\w.])", rest)) - flags
            assert not unknown, f"{document.name}: {unknown} in {line}"
        for variant in ",".join(re.findall(r"--variants=([\w,]+)", line)).split(","):
            assert not variant or variant == "all" or variant in named.variants, f"{document.name}: {line}"
        for key in re.findall(r"(?:^|--)config\.([a-z_]+\.[a-z_.]*[a-z_])", line):
            assert has_key(named or config_of("toy", None), key), f"{document.name}: config.{key} in {line}"


def test_the_readmes_shapes_are_the_configs():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    names = re.findall(r"`(\w+)`", next(line for line in lines if line.startswith("| | `multi_head`")))
    hidden, cached = (
        [int(re.findall(r"\d+", cell)[-1]) for cell in line.split("|")[2:-1]]
        for line in (next(line for line in lines if line.startswith(row)) for row in ("| d_ff", "| cache, numbers"))
    )
    decoders = [config.read(config_of("wmt14", name)).model.decoder for name in names]
    assert hidden == [decoder.feed_forward for decoder in decoders]
    assert cached == [sum(row.width for row in decoder.attention[0].rows()) for decoder in decoders]


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    written = re.sub(r"<!-- .* of .* -->.*?<!-- end -->", "", text, flags=re.DOTALL)
    assert max(len(line) for line in written.splitlines() if "|" not in line) <= 120
