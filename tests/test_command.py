"""What a person meets at the command line: flags, one-line errors, exit codes, help."""

import json
import pathlib

import forks
import pytest

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = ROOT / "tests" / "script.py"
TOY = f"--config={ROOT}/configs/toy.py"


@pytest.fixture
def run(tmp_path):
    """Runs the script in a folder that is not the repository's."""

    def run(*arguments, action="show"):
        given = [*arguments, *([] if "--help" in arguments else [f"--action={action}"])]
        return forks.run(SCRIPT, *given, folder=tmp_path)

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
        (["--config=wmt15:mla", "--workdir=x"], "multi30k, text_lm, text_translation, toy, uptrain, wmt14\n"),
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


@pytest.mark.parametrize(("action", "code"), [("bad", 2), ("diverged", 1), ("full", 1)])
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
def test_help_shows_a_command_as_it_is_typed(tmp_path, program, line):
    (tmp_path / "mqa-prepare-data").write_text("from mqa_jax.start import prepare_data\nprepare_data()\n")
    result = forks.run(program, "--help", folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert f"    {line}" in lines and lines[-1] == "required: --config"
    shown = [each.split(":")[0].strip() for each in lines if each.startswith("  --")]
    assert shown == ["--config", "--data_dir", "--json", "--[no]verbose"]
