"""What each command refuses before any work: one line, and nothing is left behind."""

import forks
import pytest

TOY = f"--config={forks.ROOT}/configs/toy.py"
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
def test_what_cannot_be_is_refused_in_one_line_before_any_work(tmp_path, name):
    line, *words = REFUSED[name]
    program, *arguments = line.split()
    (tmp_path / "file").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "experiment.json").touch()
    there = sorted(tmp_path.rglob("*"))
    if program in ("train", "compare") and "--workdir" not in line:
        arguments.append("--workdir=new/run")
    result = forks.run(forks.ROOT / f"scripts/{program}.py", TOY, *arguments, folder=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr
    assert all(each in result.stderr for each in words), result.stderr
    assert sorted(tmp_path.rglob("*")) == there, "a refusal leaves nothing behind"
