"""What a person meets at the command line: flags, one-line errors, exit codes.

Each script is a process: forked from one that has imported JAX already, or new where signals and pipes are tried.
"""

import fnmatch
import importlib
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import types

import pytest

from mqa_jax import start as start_of
from mqa_jax.kernels import host

BOTH = signal.SIGINT, signal.SIGTERM
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
        with open(WORKDIR.value, "w") as file:
            file.write("some text")
    else:
        kinds = dict(bad=InputError, diverged=Diverged, full=DiskFull, differs=Differs, stopped=Stopped, bug=ValueError)
        raise kinds[ACTION.value]("what went wrong")


if __name__ == "__main__":
    command.run(main)
'''
TOY = f"--config={ROOT}/configs/toy.py"


FORK = """
import json, os, runpy, sys
import mqa_jax.compare, mqa_jax.soak  # and so nearly all
for line in sys.stdin:
    folder, script, arguments = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(folder)
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
        sys.argv = [script, *arguments]
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as ended:  # without the second that Python takes to forget JAX
            sys.stdout.flush()
            os._exit(ended.code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("scripts") / "script.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture(scope="module")
def forked(script):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MQA_JAX_CACHE": str(script.parent / "cache")}
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", FORK], env=environment, text=True, **pipe) as process:
        yield process


@pytest.fixture
def run(forked, script, tmp_path):
    """Runs the script, or another program, in a folder that is not the repository's."""

    def run(*arguments, action="show", program=script):
        given = [*arguments, *([f"--action={action}"] if program == script and "--help" not in arguments else [])]
        print(json.dumps([str(tmp_path), str(program), given]), file=forked.stdin, flush=True)
        code = int(forked.stdout.readline())
        return subprocess.CompletedProcess(
            given, code, *((tmp_path / each).read_text() for each in ("stdout", "stderr"))
        )

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
            "--config.timing.lengths=5,6",
            "--config.timing.lengths=7",  # the last one counts
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


def test_a_shipped_config_has_a_name_and_a_file_of_that_name_comes_first(run, tmp_path):
    by_name, by_path = (shown(run(f"{each}:multi_query", "--workdir=x")) for each in ("--config=toy", TOY))
    assert by_name == by_path and by_name["variant"] == "multi_query"
    text = "from ml_collections import ConfigDict\n\ndef get_config():\n    return ConfigDict({'name': 'mine'})\n"
    (tmp_path / "toy").write_text(text)
    assert shown(run("--config=toy", "--workdir=x")) == {"name": "mine"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workdir=x"], "Flag --config must have a value other than None"),
        ([TOY], "Flag --workdir must have a value other than None"),
        ([TOY, "--workdir=x", "--btach=4"], "Unknown command line flag 'btach'. Did you mean: batch ?"),
        ([TOY, "--workdir=x", "--batch=many"], "flag --batch=many: invalid literal for int()"),
        ([TOY, "--workdir=x", "--batch=0"], "flag --batch=0: 0 is not a positive integer"),
        ([TOY, "--workdir=x", "--split=tset"], "flag --split=tset: value should be one of <dev|test>"),
        ([TOY, "--workdir=x", "input.txt"], "'input.txt' is not a flag"),
        ([TOY, "--workdir=x", "--config.train.step=4"], "--config.train.step is not a key of the config; did you mean"),
        ([TOY, "--workdir=x", "--config.train.stpes=4"], "did you mean --config.train.steps"),
        ([TOY, "--workdir=x", "--config.window=4"], "did you mean --config.attention.window"),
        ([TOY, "--workdir=x", "--config.train=4"], "--config.train is not a key of the config; did you mean --config"),
        ([TOY, "--workdir=x", "--config.=4"], "--config. is not a key of the config"),
        ([TOY, "--workdir=x", "--config.train.steps=1e3"], "flag --config.train.steps=1e3: invalid literal for int()"),
        ([TOY, "--workdir=x", "--config.data.packing=maybe"], "flag --config.data.packing=maybe: ("),
        ([TOY, "--workdir=x", "--noconfig.data.packing=1"], "--noconfig.data.packing=1 does not take an argument"),
        (["--config.train.steps=4", TOY, "--workdir=x"], "Found --config.train.steps=4 in argv before"),
        (["--config.train.steps=4", "--workdir=x"], "Unknown command line flag 'config.train.steps'"),
        ([f"{TOY}:multi_quary", "--workdir=x"], "variant 'multi_quary' is not in the config; choose from: "),
        ([TOY, "--workdir=x", "--config.variant=multi_query"], "--config.variant comes too late; choose a varia"),
        ([TOY, "--workdir=x", "--config.variants.mla.kv_rank=9"], "--config.variants.mla.kv_rank comes too late; choo"),
        (["--config=none.py", "--workdir=x"], "--config=none.py: there is no file none.py"),
        (["--config=wmt15:mla", "--workdir=x"], "lm_llama, text_lm, text_translation, toy, uptrain, wmt14\n"),
    ],
)  # fmt: skip
def test_a_wrong_flag_is_one_line_that_names_it(run, arguments, message):
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert message in result.stderr


REFUSED = {
    "a part that does not divide the batch": (
        "time_train --batch=8 --config.train.accumulate=16",
        "config.train.accumulate=16 does not divide --batch=8; choose a divisor",
    ),
    "no rounds": ("time_data --rounds=0", "flag --rounds=0: 0 is not a positive integer"),
    "a seed of 67 bits": ("train --config.seed=99999999999999999999", "config.seed=99999999999999999999 must be"),
    "seeds of 67 bits": ("compare --seeds=0,99999999999999999999", "must be integers of at least 0 and below 21474"),
    "a rate without end": ("train --config.train.learning_rate=inf", "learning_rate=inf must be a finite number"),
    "beams that no byte names": ("time_decode --beam=129", "flag --beam=129: 129 is not an integer in the range [1, 1"),
    "many beams in a sweep": (
        "time_decode --sweep --workdir=new --beams=1,129",
        "--beams=1,129 must be integers of at least 1",
    ),
    "a batch to decode": ("time_decode --batch=100000000", "error: --batch=100000000 needs"),
    "devices that cannot share a model": (
        "time_decode --config.mesh.tensor=7",
        "error: config.mesh.tensor=7 does not divide the",
        "set --config.mesh.tensor to one of 1",
    ),
    "a length to decode": ("time_decode --target_length=1000000000", "not even --batch=1 fits"),
    "a batch to train": ("time_train --batch=100000000", "error: --batch=100000000 needs"),
    "rows to train": ("train --config.data.rows=1000000000", "error: config.data.rows=1000000000 needs"),
    "rows of dev": ("train --config.decode.batch=2000000000", "error: config.decode.batch=2000000000 needs"),
    "rows to compare": ("compare --config.data.rows=1000000000", "error: config.data.rows=1000000000 needs"),
    "a batch to compare": ("compare --config.timing.batch=100000000", "error: config.timing.batch=100000000 needs"),
    "a mesh": ("train --config.mesh.fsdp=3", "config.mesh (data=-1, fsdp=3, tensor=1) does not fit"),
    "no place": ("train --workdir=/proc/x", "--workdir=/proc/x cannot be used: No such file or directory"),
    "a file to train in": ("train --workdir=file", "--workdir=file cannot be used: Not a directory; name a folder"),
    "a file to compare in": ("compare --workdir=file/x", "--workdir=file/x cannot be used: Not a directory"),
    "a file for records": ("time_decode --workdir=file", "--workdir=file cannot be used: Not a directory"),
    "a file for records of training": ("time_train --workdir=file", "--workdir=file cannot be used: Not a directory"),
    "a file for records of data": ("time_data --workdir=file", "--workdir=file cannot be used: Not a directory"),
    "a file for data": ("prepare_data --data_dir=file", "--data_dir=", "file cannot be used: Not a directory"),
    "a file to soak in": ("soak --workdir=file", "--workdir=file cannot be used: Not a directory"),
    "a run to soak in": ("soak --workdir=run", "--workdir=run holds something already; name a new folder"),
    "two places of data": (
        "prepare_data --data_dir=a --config.data.folder=b",
        "--data_dir=a and --config.data.folder=b differ; give one of them",
    ),
    "data that are not there": (
        "train --workdir=new --config.data.kind=text --config.data.folder=gone --config.data.train=a.en,a.de",
        "gone is not a folder here; give the data's place",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_in_one_line_before_any_work(run, tmp_path, name):
    line, *words = REFUSED[name]
    program, *arguments = line.split()
    (tmp_path / "file").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "experiment.json").touch()
    there = sorted(tmp_path.rglob("*"))
    if program in ("train", "compare") and "--workdir" not in line:
        arguments.append("--workdir=new/run")
    result = run(TOY, *arguments, program=ROOT / "scripts" / f"{program}.py")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr
    assert all(each in result.stderr for each in words), result.stderr
    left = {path for path in tmp_path.rglob("*") if path.name not in ("stdout", "stderr")}
    assert sorted(left) == there, "a refusal leaves nothing behind"


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


def test_a_full_disk_is_one_line_though_the_system_names_no_file(run):
    result = run(TOY, "--workdir=/dev/full", action="write")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "error: cannot write all of it: No space left on device; make room\n"


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
    assert result.stdout.startswith("Shows its settings.\n\n    python script.py --config=FILE\n\nPrints JSON.\n")
    flags = [line.split(":")[0].strip() for line in result.stdout.splitlines() if line.startswith("  --")]
    assert flags == ["--action", "--batch", "--config", "--split", "--[no]verbose", "--workdir"]
    assert "--batch: Sentences at once.\n    (default: '3')\n    (a positive integer)\n" in result.stdout
    assert "--split: <dev|test>: Which split.\n    (default: 'test')\n" in result.stdout
    assert result.stdout.endswith("\nrequired: --config, --workdir\n")


@pytest.mark.parametrize(
    ("program", "line"),
    [
        (f"{ROOT}/scripts/prepare_data.py", "python scripts/prepare_data.py --config=configs/wmt14.py --data_dir=DATA"),
        ("mqa-prepare-data", "mqa-prepare-data --config=wmt14 --data_dir=DATA"),
    ],
)
def test_help_shows_a_command_as_it_is_typed(run, tmp_path, program, line):
    (tmp_path / "mqa-prepare-data").write_text("from mqa_jax.start import prepare_data\nprepare_data()\n")
    result = run("--help", program=program)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert f"    {line}" in lines and lines[-1] == "required: --config"
    shown = [each.split(":")[0].strip() for each in lines if each.startswith("  --")]
    assert shown == ["--config", "--data_dir", "--json", "--[no]verbose"]


def test_neither_help_nor_a_wrong_flag_waits_for_jax(script):
    text = "import runpy, sys\ntry:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
    text += "except SystemExit:\n    print([name for name in ('jax', 'flax', 'matplotlib') if name in sys.modules])\n"
    for wrong in ("--help", "--btach=4"):
        command = [sys.executable, "-c", f"import sys; sys.argv = {[str(script), wrong]}\n{text}"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert result.stdout.splitlines()[-1] == "[]", result.stdout


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


IMPORTING = """
import importlib, os, sys, time
from mqa_jax import start
def wait(name):
    print(os.open(os.devnull, os.O_RDONLY), flush=True)
    time.sleep(60)
importlib.import_module = wait
start.train()
"""


def importing(redirected=""):
    """A command that is at its slow imports, or has refused to come so far. Prints the first free file number."""
    line = f"exec {sys.executable} -c '{IMPORTING}' {redirected}"
    environment, pipe = os.environ | {"PYTHONPATH": str(ROOT)}, subprocess.PIPE
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(["bash", "-c", line], env=environment, stdout=pipe, stderr=pipe, text=True)
    signal.signal(signal.SIGINT, before)
    assert process.stdout
    return process, process.stdout.readline()


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_a_signal_during_the_imports_is_one_line(number, word):
    process, printed = importing("<&-")
    process.send_signal(number)
    assert process.communicate() == ("", f"{word} before the work began\n")
    assert (printed, process.returncode) == ("3\n", 128 + number)


def test_signals_are_as_they_were_when_the_work_begins(monkeypatch):
    seen = []
    ready = types.SimpleNamespace(main="its main", run=lambda main: seen.append((main, *map(signal.getsignal, BOTH))))
    monkeypatch.setattr(importlib, "import_module", lambda name: seen.append(name) or ready)
    before = tuple(map(signal.getsignal, BOTH))
    start_of.train()
    assert seen == ["mqa_jax.command", "mqa_jax.commands.train", ("its main", *before)]


def test_a_closed_stdout_is_one_line_and_closed_stderr_is_no_files():
    process, printed = importing(">&-")
    assert process.communicate()[1] == "error: standard output is closed; send it somewhere, for instance >/dev/null\n"
    assert (printed, process.returncode) == ("", 2)
    process, printed = importing("2>&-")
    process.kill()
    process.communicate()
    assert printed == "3\n", "what is printed to stderr would land in file 2"


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


@pytest.mark.parametrize(
    ("platforms", "files", "cpu"),
    [(None, [], True), ("cpu", ["/dev/nvidia0"], True), (None, ["/dev/nvidia0"], False), ("tpu,cpu", [], False)],
)
def test_a_cpus_memory_and_cores_are_set_up_only_for_a_cpu(monkeypatch, platforms, files, cpu):
    done = []
    config = types.SimpleNamespace(jax_platforms=platforms, update=lambda *setting: done.append(setting))
    monkeypatch.setattr(host, "jax", types.SimpleNamespace(config=config))
    monkeypatch.setattr(host.glob, "glob", lambda pattern: fnmatch.filter(files, pattern))
    monkeypatch.setattr(
        host.ctypes, "CDLL", lambda _: types.SimpleNamespace(mallopt=lambda *option: done.append(option))
    )
    monkeypatch.setattr(host, "_use_huge_pages", done.append)
    monkeypatch.delenv("XLA_FLAGS")
    host.make_cores_devices()
    assert [name for name, _ in done] == ["jax_num_cpu_devices"] * cpu
    host.keep_freed_memory()
    assert len(done) == 6 * cpu


def test_memory_is_kept_from_one_execution_to_the_next(tmp_path):
    """Without the setting every execution takes a page fault for each 4 KiB of its temporaries. With it the first takes
    as many, or one for each 2 MiB, and of later ones one takes few: some may take more, where what was freed came back
    in another order."""
    script = """
import resource
from mqa_jax.kernels import host
host.keep_freed_memory()
import jax, jax.numpy as jnp
work = jax.jit(lambda x: jnp.cumsum(jnp.sin(jnp.arange(2**22) * x)).max())
for _ in range(30):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work(2.0).block_until_ready()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

    def faults(text):
        command = [sys.executable, "-c", text]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
        output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        return [int(line) for line in output.split()]

    kept = faults(script)
    anew = faults(script.replace("host.keep_freed_memory()", "").replace("range(30)", "range(5)"))
    assert min(anew) > 4_000
    assert min(kept) < 250 and statistics.median(kept[10:]) < min(anew) / 2
