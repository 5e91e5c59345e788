"""The whole comparison on a task of seconds, and the scripts a user types, from config to report."""

import dataclasses
import io
import json
import shutil
import sys

import forks
import numpy as np
import pytest
from reported import PAIR
from test_processes import free_port
from toy import SMALL, records, script

from mqa_jax import compare, workdir
from mqa_jax.data import sources
from mqa_jax.decode import dialogue, generate
from mqa_jax.errors import InputError


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    output, progress = script(
        "compare", *SMALL, "--variants=multi_head,multi_query", "--workers=2", f"--workdir={folder}"
    )
    assert "2 processes train and evaluate side by side" in progress and progress.count("train is there") == 2
    return folder, output, progress


def test_every_record_is_there(compared):
    folder, output, _ = compared
    assert len(records(folder, "train")) == 2
    quality = {(r["variant"], r["split"], r["beam"]) for r in records(folder, "quality")}
    assert quality == {
        (variant, split, beam)
        for variant in ("multi_head", "multi_query")
        for split, beam in (("dev", 1), ("test", 1), ("test", 4))
    }
    assert {(r["variant"], r["split"]) for r in records(folder, "perplexity")} == {
        (variant, split) for variant in ("multi_head", "multi_query") for split in ("dev", "test")
    }
    timed = {(r["variant"], r["beam"], r["target_length"]) for r in records(folder, "timing")}
    assert timed == {(v, b, n) for v in ("multi_head", "multi_query") for b, n in ((1, 8), (4, 8), (1, 4))}
    (significance,) = records(folder, "significance")
    assert [row["variant"] for row in significance["rows"]] == ["multi_head", "multi_query"]
    assert "multi_query" in output and "report" in output


def test_records_and_sentences_alone_are_enough_for_the_tests_over_seeds(compared, tmp_path):
    """Checkpoints and translations may be gone. The second seed is the first under another number."""
    for path in [*compared[0].rglob("*-s0/records/*.json"), *compared[0].rglob("*-s0/sentences/*.json")]:
        for seed in (0, 1):
            place = tmp_path / str(path.relative_to(compared[0])).replace("-s0", f"-s{seed}")
            place.parent.mkdir(parents=True, exist_ok=True)
            found = json.loads(path.read_text())
            if isinstance(found, dict):  # a record
                found["seed"] = found["config"]["seed"] = seed
            place.write_text(json.dumps(found))
    which = *SMALL, "--variants=multi_head,multi_query", f"--workdir={tmp_path}"
    _, progress = script("compare", *which, "--seeds=0,1")
    assert progress.count("train is there") == 4 and "train multi" not in progress
    assert "no paired bootstrap of seed 0" in progress and not records(tmp_path, "significance")
    found = {record["metric"]: record for record in records(tmp_path, "seeds")}
    assert set(found) == {"BLEU intl", "nats a token"} and found["BLEU intl"]["beam"] == 4
    of_seed = {r["variant"]: r for r in records(tmp_path, "quality") if (r["split"], r["beam"]) == ("test", 4)}
    for row in found["BLEU intl"]["rows"]:
        assert row["mean"] == pytest.approx(of_seed[row["variant"]]["bleu_intl"]) and row["sd"] == 0
    nats = {r["variant"]: r["nll_per_token"] for r in records(tmp_path, "perplexity") if r["split"] == "test"}
    assert {row["variant"]: row["mean"] for row in found["nats a token"]["rows"]} == pytest.approx(nats, rel=1e-4)
    assert "over seeds: test, beam 4" in (tmp_path / "report.md").read_text()
    shutil.rmtree(tmp_path / "multi_head-s1")
    script("compare", *which, "--seeds=0")
    counts = [[row["seeds"] for row in record["rows"]] for record in records(tmp_path, "seeds")]
    assert counts == [[1, 2]] * 2, "all that the folder holds, whatever was asked for"


def test_a_comparison_of_other_text_or_of_fewer_steps_is_refused(compared, monkeypatch):
    """Its records are all there, and of something else."""
    folder, _, _ = compared
    pair = [workdir.owner(folder / f"{name}-s0") for name in ("multi_head", "multi_query")]
    fewer = [dataclasses.replace(each, train=dataclasses.replace(each.train, steps=2)) for each in pair]
    with pytest.raises(InputError, match=r"multi_head-s0 is at step 4 already, beyond config.train.steps=2"):
        compare.compare(fewer, [0], folder)
    load = sources.load

    def changed(data, task):
        corpus = load(data, task)
        test = dataclasses.replace(corpus.splits["test"], target=corpus.splits["test"].target[::-1])
        return dataclasses.replace(corpus, splits={**corpus.splits, "test": test})

    monkeypatch.setattr(sources, "load", changed)
    with pytest.raises(InputError, match=r"multi_head-s0 was made of something else .the text of config.data.test has"):
        compare.compare(pair, [0], folder)


def start_two(folder):
    """Two processes of one JAX cluster, one device each, are one start on `folder`; code, output and words of each."""
    address = f"localhost:{free_port()}"
    less = "--config.decode.beam=1", "--config.timing.beams=(1,)", "--config.timing.lengths=(8,)"
    which = *SMALL, *less, f"--variants={','.join(PAIR)}", f"--workdir={folder}"
    both = [
        forks.Process(
            "scripts/compare.py",
            *which,
            f"--coordinator={address}",
            "--processes=2",
            f"--process={index}",
            environment={"XLA_FLAGS": "--xla_force_host_platform_device_count=1"},
        )
        for index in range(2)
    ]
    said = [each.communicate() for each in both]
    return [(each.returncode, *words) for each, words in zip(both, said, strict=True)]


def test_two_processes_compare_as_one_does_and_an_error_of_one_ends_both(compared, tmp_path):
    (code, output, said), (other_code, other_output, other_said) = start_two(tmp_path)
    assert (code, other_code) == (0, 0), said + other_said
    assert "report.html" in output and "report.html" not in other_output, "the first speaks for both"
    assert "translate" in said and "translate" not in other_said and "time decoding" not in other_said
    names = {str(path.relative_to(compared[0])) for path in compared[0].rglob("records/*.json")}
    left_out = {name for name in names if "beam4" in name or "-4-4-" in name}
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("records/*.json")} == names - left_out
    for kind, figure in (("train", "final_loss"), ("perplexity", "nll_per_token")):
        here, there = ([record[figure] for record in records(each, kind)] for each in (tmp_path, compared[0]))
        np.testing.assert_allclose(here, there, rtol=2e-4)
    assert (tmp_path / "report.md").exists()
    words = tmp_path / "multi_query-s0" / "vocabulary.model"  # the first one alone cannot write it
    words.unlink()
    words.mkdir()
    (code, _, said), (other_code, _, other_said) = start_two(tmp_path)
    assert (code, other_code) == (2, 2), said + other_said
    assert said.splitlines()[-1] == f"error: cannot use {words}: Is a directory"
    assert other_said.splitlines()[-1].startswith("error: another process of this run was refused or failed")
    assert "multi_head seed 0: train is there" in said and "Traceback" not in said + other_said


def test_variants_share_budget_data_and_vocabulary(compared):
    folder, _, _ = compared
    trains = records(folder, "train")
    assert {r["feed_forward"] for r in trains} == {64, 100} and len({r["parameters"] for r in trains}) == 1
    assert len({r["curve"][-1]["tokens"] for r in trains}) == 1, "a seed's variants see the same batches"
    assert len({path.read_bytes() for path in folder.rglob("vocabulary.model")}) == 1


def test_the_report_is_whole(compared):
    folder, _, _ = compared
    page, markdown = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    for text in (page, markdown):
        assert "multi_query" in text and "generated" in text and "nrefs:1" in text
    assert "http://" not in page.replace("http://www.w3.org", "") and "data:image/svg+xml;base64," in page
    assert len(list(folder.glob("*.svg"))) >= 4
    assert "## Examples" in markdown


def test_a_second_run_does_nothing_again_and_says_so(compared):
    folder, _, _ = compared
    before = {
        path: path.stat().st_mtime_ns for path in folder.rglob("records/*.json") if "significance" not in path.name
    }
    _, progress = script("compare", *SMALL, "--variants=multi_head,multi_query", f"--workdir={folder}")
    assert progress.count("train is there") == 2 and "timing: all there" in progress
    assert before == {path: path.stat().st_mtime_ns for path in before}


HOSTILE = [
    *("\0", "nul\0inside", "\x07\x1b[2J", "\x0b\x0c\x85", "a\rb", " \t ", "\ufeffmark", "no\u2029break"),
    *("\u202eback\u202c", "\u05e9\u05dc\u05d5\u05dd", "e\u0301\u0301", "\ud7ff\ue000\U0010ffff", "last"),
]


def test_translate_gives_a_line_for_each_line(compared, tmp_path):
    folder, _, _ = compared
    lines = "The dog sleeps.\n\nNo\u2028break here\n" + "very " * 200 + "long\n" + "\n".join(HOSTILE)
    output, said = script("translate", f"--workdir={folder / 'multi_query-s0'}", "--beam=2", stdin=lines.encode())
    count = 4 + len(HOSTILE)
    assert output.count("\n") == count and output.split("\n")[1] == ""
    assert f"too long, cut to 31 tokens: 1 of {count} lines (4)\n" in said
    (tmp_path / "in").write_text(lines)
    script(
        "translate",
        f"--workdir={folder / 'multi_query-s0'}",
        "--beam=2",
        f"--input={tmp_path / 'in'}",
        f"--output={tmp_path / 'out'}",
        f"--record={tmp_path / 'records'}",
    )
    assert (tmp_path / "out").read_text() == output
    (record,) = records(tmp_path, "translate")
    assert record["sentences"] == count and record["beam"] == 2 and record["truncated"] == 1 and record["programs"] >= 1
    assert f"{count} lines, " in said and f"programs: {record['programs']}" in said


def test_evaluate_agrees_with_the_comparison(compared, tmp_path):
    folder, _, _ = compared
    run = folder / "multi_head-s0"
    output, _ = script("evaluate", f"--workdir={run}", "--split=test", "--beam=1", f"--json={tmp_path / 'json'}")
    perplexity, record = map(json.loads, (tmp_path / "json").read_text().splitlines())
    scores = f"BLEU {record['bleu_intl']:.2f} intl, {record['bleu_13a']:.2f} 13a, chrF {record['chrf']:.1f}"
    assert output.splitlines()[-1] == f"{scores}, {record['sentences']} sentences of test, greedy, step 4"
    assert output.startswith(f"perplexity {perplexity['perplexity_per_token']:,.2f} a token, ")
    (kept,) = [r for r in records(run, "quality") if (r["split"], r["beam"]) == ("test", 1)]
    assert record["bleu_13a"] == kept["bleu_13a"] and record["signature_13a"] == kept["signature_13a"]
    (tmp_path / "en").write_text("The dog sleeps.\n")
    (tmp_path / "de").write_text("Der Hund schläft.\n")
    output, _ = script(
        "evaluate", f"--workdir={run}", f"--source={tmp_path / 'en'}", f"--reference={tmp_path / 'de'}", "--json=-"
    )
    assert [json.loads(line)["sentences"] for line in output.splitlines()] == [1, 1]


def test_time_decode_is_shown_to_people_and_kept_for_programs(tmp_path):
    arguments = *SMALL, "--batch=64", "--beam=2", "--dtype=float32", "--repeats=2", f"--json={tmp_path / 'json'}"
    output, said = script("time_decode", *arguments, devices="")
    what = "toy multi_head: 64 sentences, beam 2, 8 + 8 tokens, a cache that grows; takes about 0:0"
    assert said.splitlines()[-1].startswith(what)
    for text in ("encoder: ", "decoder: ", "of the floor's speed", "most memory held"):
        assert text in output
    record = json.loads((tmp_path / "json").read_text())
    wanted = [
        "variant",
        "batch",
        "beam",
        "source_length",
        "target_length",
        "dtype",
        "encoder_us_per_token",
        "decoder_us_per_token",
        "floor_us_per_token",
        "floor_share",
        "bytes_per_step",
        "flops_per_step",
        "peak_bytes_per_s",
        "peak_flops_per_s",
        "compile_s",
        "peak_memory_mb",
    ]
    assert all(name in record for name in wanted) and record["dtype"] == "float32" and record["beam"] == 2


BAD = {
    "unknown variant": (("compare", *SMALL, "--variants=multi_head,multi_quary"), "variant 'multi_quary'"),
    "no variant": (("compare", *SMALL, "--variants="), "--variants= names nothing; leave it out"),
    "variant twice": (("compare", *SMALL, "--variants=multi_head,multi_head"), "names one twice"),
    "bad seeds": (("compare", *SMALL, "--seeds=a"), "--seeds=a"),
    "no workdir": (("train", *SMALL), "--workdir is missing"),
    "no run": (("translate",), "holds no run"),
    "a comparison": (("evaluate",), "holds no run (no experiment.json); name one of those in it: "),
    "one workload's flag in a sweep": (
        ("time_decode", *SMALL, "--sweep", "--batch=64"),
        "--batch is of one workload",
    ),
    "more outputs than beams": (
        ("translate", "--beam=2", "--alternatives=3"),
        "--alternatives=3 are beams; add --beam=3 or more",
    ),
    "a sweep's flag without one": (("time_decode", *SMALL, "--lengths=8"), "--lengths is for a sweep; add --sweep"),
    "other architecture": (("train", *SMALL, "--config.model.width=64"), "config.model.width is 32 there, 64 here"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_exit_code_2(compared, tmp_path, name):
    (which, *arguments), words = BAD[name]
    folder = {"a comparison": compared[0]}.get(name, tmp_path)
    if name in ("other architecture", "more outputs than beams"):
        folder = compared[0] / "multi_head-s0"
    if name != "no workdir":
        arguments.append(f"--workdir={folder}")
    output, said = script(which, *arguments, code=2)
    assert said.splitlines()[-1].startswith("error: ") and words in said and "Traceback" not in said
    assert not output


def test_a_typed_line_that_is_no_text_is_said_and_the_next_one_answered(monkeypatch, capsys):
    answer = lambda lines: generate.Generated([each.upper() for each in lines], [0] * ("long" in lines[0]), 1, 1, 9, 1)  # noqa: E731
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\nbad \xff\n\nlong\r\nlast")))
    written = []
    dialogue.answer_each(answer, written.append)
    assert written == ["ONE", "", "LONG", "LAST"]
    wrong, cut = capsys.readouterr().err.splitlines()
    assert wrong.startswith("error: the line, byte 5: not UTF-8") and cut.startswith("too long, cut to 9 tokens")


def test_invalid_utf8_on_standard_input(compared):
    run = compared[0] / "multi_head-s0"
    _, said = script("translate", f"--workdir={run}", stdin=b"fine\nbad \xff\n", code=2)
    assert "standard input, line 2, byte 5: not UTF-8" in said
