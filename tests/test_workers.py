"""Work that several processes share: each piece once, those of a dead process taken over."""

import pathlib
import signal
import subprocess
import sys
import time

import pytest

from mqa_jax import workers
from mqa_jax.errors import Stopped

ROOT = pathlib.Path(__file__).parent.parent
# Writes its name into the folder's file when it begins a piece; `a` holds a piece until `go` is there.
WORKER = """
import pathlib, sys, time
sys.path.insert(0, {root!r})
from mqa_jax import workers
place, name = pathlib.Path(sys.argv[1]), sys.argv[2]
workers.POLL_S = 0.02

def work(folder):
    if (folder / "done").exists():
        return False
    with (folder / "begun").open("a") as file:
        file.write(name)
    while name == "a" and not (place / "go").exists():
        time.sleep(0.01)
    (folder / "done").touch()
    return True

workers.share([place / each for each in "pqr"], work, int(sys.argv[3]) if len(sys.argv) > 3 else None)
"""


def start(*arguments):
    return subprocess.Popen([sys.executable, "-c", WORKER.format(root=str(ROOT)), *map(str, arguments)])


def until(path):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("dies", [False, True])
def test_pieces_are_done_once_and_those_of_a_dead_process_again(tmp_path, dies):
    a = start(tmp_path, "a")
    until(tmp_path / "p" / "begun")
    b = start(tmp_path, "b")
    until(tmp_path / "r" / "done")
    time.sleep(0.2)
    assert b.poll() is None, "it waits for the piece that a holds"
    if dies:
        a.send_signal(signal.SIGKILL)
    else:
        (tmp_path / "go").touch()
    assert a.wait() == (-signal.SIGKILL if dies else 0) and b.wait() == 0
    begun = {each: (tmp_path / each / "begun").read_text() for each in "pqr"}
    assert begun == {"p": "ab" if dies else "a", "q": "b", "r": "b"}
    assert all((tmp_path / each / "done").exists() for each in "pqr")


def test_a_process_with_a_limit_takes_so_many_and_waits_for_none(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "done").touch()
    assert start(tmp_path, "b", 1).wait() == 0
    assert [(tmp_path / each / "done").exists() for each in "pqr"] == [True, True, False]
    with workers.held(tmp_path / "r" / "row.lock") as mine:
        assert mine and start(tmp_path, "c", 2).wait() == 0
    assert not (tmp_path / "r" / "done").exists()


def test_a_bad_exit_is_told_and_progress_is_passed_on(capfd):
    code = "import sys; print('a line', file=sys.stderr); sys.exit(3)"
    assert workers.side_by_side([sys.executable, "-c", code], 2) == 3
    assert capfd.readouterr().err.count("a line\n") == 2


def test_a_signal_reaches_all_and_ends_the_work(monkeypatch):
    code = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(0)); print(1, file=sys.stderr, flush=True)"
    ready = []

    def pass_on(process):
        for line in process.stderr:
            ready.append(line)
            if len(ready) == 2:
                signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(workers, "_pass_on", pass_on)
    begun = time.monotonic()
    with pytest.raises(Stopped, match="the same command goes on"):
        workers.side_by_side([sys.executable, "-c", f"{code}; time.sleep(60)"], 2)
    assert time.monotonic() - begun < 30
