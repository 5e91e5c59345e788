"""What a person meets at the command line: flags, one-line errors, exit codes. Each script is a process."""

import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = '''"""Shows its settings.

    python script.py --config=FILE

Prints JSON.
"""

import json
import sys

from absl import flags

from mqa_jax import command
from mqa_jax.errors import Differs, DiskFull, Diverged, InputError, Stopped

CONFIG = command.config_flag()
BATCH = flags.DEFINE_integer("batch", 3, "Sentences at once.", lower_bound=1)
SPLIT = flags.DEFINE_enum("split", "test", ["dev", "test"], "Which split.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
ACTION = flags.DEFINE_string("action", "show", "What to do.")


def main():
    if ACTION.value == "show":
        print(json.dumps(CONFIG.value.to_dict()))
    elif ACTION.value == "wait":
        print("waiting", flush=True)
        sys.stdin.read()
    elif ACTION.value == "pour":
        for line in range(100_000):
            print(line)
    elif ACTION.value == "write":
        open(WORKDIR.value, "w")
    else:
        kinds = dict(bad=InputError, diverged=Diverged, full=DiskFull, differs=Differs, stopped=Stopped, bug=ValueError)
        raise kinds[ACTION.value]("what went wrong")


if __name__ == "__main__":
    command.run(main)
'''
TOY = f"--config={ROOT}/configs/toy.py"


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("scripts") / "script.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture
def run(script, tmp_path):
    """Runs the script in a folder that is not the repository's."""

    def run(*arguments, action="show", **options):
        command = [sys.executable, str(script), *arguments]
        if "--help" not in arguments:
            command += [f"--action={action}"]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "MQA_JAX_CACHE": str(tmp_path / "cache")}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, **options)

    return run


def shown(result):
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_overrides_of_numbers_lists_and_unset_keys(run):
    config = shown(
        run(
            f"{TOY}:multi_query",
            "--workdir=x",
            "--config.train.steps=10",
            "--config.attention.window=8",  # None in the config
            "--config.data.train=a/x.en,/b/y.de",  # empty in the config
            "--config.timing.lengths=7",
            "--config.timing.beams=(1, 2)",
            "--noconfig.data.packing",
        )
    )
    assert config["variant"] == "multi_query"
    assert config["train"]["steps"] == 10
    assert config["attention"]["window"] == 8
    assert config["attention"]["write_heads"] == 1
    assert config["data"]["train"] == ["a/x.en", "/b/y.de"]
    assert config["timing"]["lengths"] == [7]
    assert config["timing"]["beams"] == [1, 2]
    assert config["data"]["packing"] is False


def test_a_config_that_has_files_takes_others(run):
    config = shown(run(f"--config={ROOT}/configs/text_translation.py", "--workdir=x", "--config.data.train=a.en,a.de"))
    assert config["data"]["train"] == ["a.en", "a.de"]
    assert config["data"]["dev"] == ["val.en", "val.de"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workdir=x"], "--config is missing"),
        ([TOY], "--workdir is missing"),
        ([TOY, "--workdir=x", "--btach=4"], "--btach is not a flag of script.py; did you mean --batch?"),
        ([TOY, "--workdir=x", "--batch=many"], "--batch=many must be a positive integer"),
        ([TOY, "--workdir=x", "--split=tset"], "--split=tset: value should be one of <dev|test>"),
        ([TOY, "--workdir=x", "input.txt"], "'input.txt' is not a flag"),
        ([TOY, "--workdir=x", "--config.train.step=4"], "--config.train.step is not a key of the config; did you mean"),
        ([TOY, "--workdir=x", "--config.window=4"], "did you mean --config.attention.window"),
        ([TOY, "--workdir=x", "--config.train=4"], "--config.train is a block"),
        ([TOY, "--workdir=x", "--config.train.steps=1e3"], "--config.train.steps=1e3 must be an integer"),
        ([TOY, "--workdir=x", "--config.data.packing=maybe"], "--config.data.packing=maybe must be true or false"),
        (["--config.train.steps=4", TOY, "--workdir=x"], "--config.train.steps needs a config before it"),
        ([f"{TOY}:multi_quary", "--workdir=x"], "variant 'multi_quary' is not in the config; choose from: "),
        ([TOY, "--workdir=x", "--config.train.stpes=4"], "did you mean --config.train.steps"),
        (["--config=none.py", "--workdir=x"], "--config=none.py: there is no file none.py"),
    ],
)  # fmt: skip
def test_a_wrong_flag_is_one_line_that_names_it(run, arguments, message):
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert message in result.stderr


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import not_there\n", "fails in line 1: ModuleNotFoundError: No module named 'not_there'"),
        ("x = 1\n\ndef get_config():\n    return x.y\n", "fails in line 4: AttributeError"),
        ("def get_config(:\n", "SyntaxError"),
        ("def get_config():\n    return {}\n", "get_config() gave a dict, not a ConfigDict"),
    ],
)
def test_a_broken_config_file_is_one_line_that_names_the_place(run, tmp_path, source, message):
    (tmp_path / "mine.py").write_text(source)
    result = run("--config=mine.py", "--workdir=x")
    assert result.returncode == 2
    assert result.stderr.startswith("error: --config=mine.py") and result.stderr.count("\n") == 1
    assert message in result.stderr


@pytest.mark.parametrize(("action", "code"), [("bad", 2), ("diverged", 1), ("full", 1), ("differs", 1)])
def test_what_ends_a_run_is_one_line(run, action, code):
    result = run(TOY, "--workdir=x", action=action)
    assert (result.returncode, result.stderr) == (code, "error: what went wrong\n")


@pytest.mark.parametrize(
    ("path", "code", "reason"),
    [("file/run", 2, "Not a directory"), (".", 2, "Is a directory"), ("missing/run", 1, "Traceback")],
)
def test_a_path_that_is_no_place_for_files_is_one_line(run, tmp_path, path, code, reason):
    (tmp_path / "file").touch()
    result = run(TOY, f"--workdir={path}", action="write")
    assert result.returncode == code and reason in result.stderr
    if code == 2:
        assert result.stderr == f"error: cannot use {path}: {reason}\n"


def test_work_that_was_stopped_in_good_order_is_no_error(run):
    result = run(TOY, "--workdir=x", action="stopped")
    assert (result.returncode, result.stderr) == (0, "what went wrong\n")


def test_a_bug_keeps_its_traceback(run):
    result = run(TOY, "--workdir=x", action="bug")
    assert result.returncode == 1
    assert "Traceback" in result.stderr and "ValueError: what went wrong" in result.stderr


def test_help_is_the_docstring_and_the_scripts_own_flags(run):
    result = run("--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(
        "Shows its settings.\n\n    python script.py --config=FILE\n\nPrints JSON.\n\nFlags:\n"
    )
    flags = [line.split()[0] for line in result.stdout.splitlines() if line.startswith("  --")]
    wanted = ["--config=FILE[:VARIANT]", "--batch=INT", "--split=dev|test", "--workdir=STRING", "--action=STRING"]
    assert flags == [*wanted, "--verbose"]
    assert "--workdir=STRING  (required)" in result.stdout
    assert "--batch=INT  (default 3)" in result.stdout


def start(script, action):
    command = [sys.executable, str(script), TOY, "--workdir=x", f"--action={action}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    # A shell has what it starts in the background ignore SIGINT, and that is handed down: to the tests, and from them.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    signal.signal(signal.SIGINT, before)
    assert process.stdout and process.stderr
    return process, process.stdout, process.stderr


def test_an_interrupt_is_one_line(script):
    process, output, errors = start(script, "wait")
    with process:
        assert output.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        told = errors.read()
    assert process.returncode == 130
    assert told.startswith("interrupted") and told.count("\n") == 1


def test_a_reader_that_leaves_is_no_error(script):
    process, output, errors = start(script, "pour")
    with process:
        assert output.readline() == "0\n"
        output.close()
        told = errors.read()
    assert (process.returncode, told) == (141, "")


def test_compiled_programs_are_kept(tmp_path):
    slow = "from mqa_jax import command\nimport jax\ncommand.enable_compilation_cache()\n"
    slow += "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)\nprint(jax.jit(lambda x: x + 1)(1))\n"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MQA_JAX_CACHE": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", slow], env=environment, check=True, capture_output=True)
    assert any((tmp_path / "cache").iterdir())


def test_memory_is_kept_from_one_execution_to_the_next(tmp_path):
    """Without the setting every execution takes a page fault for each 4 KiB of its temporaries. With it the first takes
    as many, or one for each 2 MiB, and of later ones one takes few: some may take more, where what was freed came back
    in another order."""
    script = """
import resource
from mqa_jax.kernels import host
host.keep_freed_memory()
import jax, jax.numpy as jnp
work = jax.jit(lambda x: jnp.cumsum(jnp.sin(jnp.arange(2**24) * x)).max())
for _ in range(30):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work(2.0).block_until_ready()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    kept, anew = (
        [
            int(line)
            for line in subprocess.run(
                [sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=True
            ).stdout.split()
        ]
        for text in (script, script.replace("host.keep_freed_memory()", ""))
    )
    assert min(anew) > 16_000
    assert min(kept) < 1_000 and statistics.median(kept[10:]) < min(anew) / 2
