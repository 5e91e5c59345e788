"""The commands that take a model in, score lines with it and give it out; one line for what cannot be read."""

import json

import forks
import jax
import numpy as np
import pytest
from outside import IDS, KINDS, PLAIN, model_config, tokenizer, values_of, written
from safetensors.numpy import load_file, save_file
from small import Compiled

from mqa_jax.batch import Batch, Rows
from mqa_jax.data import pipeline, vocabulary
from mqa_jax.errors import InputError
from mqa_jax.evaluate import likelihood
from mqa_jax.interop import hugging_face, runs
from mqa_jax.model.build import build
from mqa_jax.train import trained


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outside")
    written(folder, KINDS["qwen2"], "bfloat16")
    return folder


def test_a_model_goes_in_is_scored_and_comes_out(there, tmp_path):
    result = forks.run("scripts/import_model.py", f"--from={there}", f"--workdir={tmp_path}/run")
    assert result.returncode == 0, result.stderr
    (tmp_path / "lines").write_text("the cat\n\nabc\n")
    given = [f"--workdir={tmp_path}/run", f"--input={tmp_path}/lines", "--dtype=float32"]
    result = forks.run("scripts/score.py", *given, "--prefix_id=5", "--eos")
    assert result.returncode == 0, result.stderr
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    ids = [[31, 29, 5, 3, 22], [], [3, 4, 5]]
    assert [int(tokens) for _, tokens in lines] == [len(each) + 1 for each in ids]
    of = trained.load(tmp_path / "run", dtype="float32")
    assert of.experiment.model.dtype == "float32" and (of.vocabulary.bos, of.vocabulary.eos) == (1, 2)
    for (log_probability, _), line in zip(lines, ids, strict=True):
        target = np.array([*line, 2])[None]
        side = Rows(target, np.ones_like(target), np.arange(target.size)[None])
        logits = Compiled(of.model.bind(of.parameters))(Batch(side, pipeline.shift_right(target, side.segments_BL, 5)))
        wanted = jax.nn.log_softmax(logits[0])[np.arange(target.size), target[0]].sum()
        np.testing.assert_allclose(float(log_probability), wanted, atol=2e-4)
    given = [f"--config={tmp_path}/run", "--config.timing.batch=3", "--describe", "--json=-"]
    result = forks.run("scripts/train.py", *given)
    described = json.loads(result.stdout)
    assert (described["width"], described["batch"], described["feed_forward"]) == (16, 3, 24)
    result = forks.run("scripts/export_model.py", f"--workdir={tmp_path}/run", f"--to={tmp_path}/out")
    assert result.returncode == 0, result.stderr
    for name in ("model.safetensors", "tokenizer.json"):
        once, again = (folder / name for folder in (there, tmp_path / "out"))
        if name == "tokenizer.json":
            assert json.loads(once.read_text()) == json.loads(again.read_text())
        else:
            once, again = load_file(once), load_file(again)
            assert all(once[each].tobytes() == again[each].tobytes() for each in once) and once.keys() == again.keys()


def test_long_lines_are_scored_in_pieces_and_lines_keep_their_order(tmp_path):
    config = model_config(PLAIN)
    (tmp_path / "vocabulary.json").write_bytes(hugging_face.vocabulary(tokenizer(), IDS, ""))
    words, model = vocabulary.read(tmp_path / "vocabulary.json"), build(config)
    of = trained.Trained(tmp_path, None, model, values_of(config), words, (0,))
    lines = ["ab" * 50, "", "cd", "ab" * 32]
    found = likelihood.score(of, lines)
    assert found.tokens.tolist() == [100, 0, 2, 64] and found.cut == []
    pieces = likelihood.score(of, [lines[0][:64], lines[0][64:], "cd"])
    np.testing.assert_allclose(found.log_probabilities[0], pieces.log_probabilities[:2].sum(), rtol=1e-5)
    np.testing.assert_allclose(found.log_probabilities[[2, 3]], pieces.log_probabilities[[2, 0]], rtol=1e-5)


def broken(there, folder, change):
    """A copy of the model outside with one thing wrong."""
    folder.mkdir()
    for path in there.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    change(folder)
    return folder


def configured(**changes):
    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def truncated(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def without(name):
    def change(folder):
        tensors = load_file(folder / "model.safetensors")
        save_file({key: value for key, value in tensors.items() if key != name}, folder / "model.safetensors")

    return change


def indexed(folder):
    names = dict.fromkeys(load_file(folder / "model.safetensors"), "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def longer_tokenizer(folder):
    held = tokenizer()
    held["model"]["vocab"] |= {f"word{n}": 32 + n for n in range(20)}
    (folder / "tokenizer.json").write_text(json.dumps(held))


BAD = {
    "pickle": (pickled, "pytorch_model.bin is a pickle"),
    "truncated": (truncated, "is damaged"),
    "missing shard": (indexed, "model-00001-of-00002.safetensors is missing"),
    "missing tensor": (without("model.norm.weight"), "lacks tensor model.norm.weight"),
    "shape": (configured(intermediate_size=25), "of shape [24, 16]; by the config it is [25, 16]"),
    "architecture": (configured(model_type="gpt_neox"), "model_type='gpt_neox', which is not supported"),
    "activation": (configured(hidden_act="gelu"), "hidden_act='gelu'"),
    "rope": (configured(rope_scaling={"rope_type": "longrope"}), "'longrope'"),
    "rope without factor": (configured(rope_scaling={"rope_type": "linear"}), "'factor' is missing"),
    "heads": (configured(num_key_value_heads=3), "does not divide"),
    "quantised": (configured(quantization_config={"bits": 4}), "quantization_config="),
    "tokenizer": (longer_tokenizer, "a tokenizer of 52 tokens and an embedding of 40"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer.json"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_nothing_is_written(case, there, tmp_path):
    change, words = BAD[case]
    folder = broken(there, tmp_path / "bad", change)
    result = forks.run("scripts/import_model.py", f"--from={folder}", f"--workdir={tmp_path}/new")
    assert result.returncode == 2 and words in result.stderr and result.stderr.count("\n") == 1, result.stderr
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("new")]


def test_another_token_may_begin_texts(there, tmp_path):
    runs.imported(there, tmp_path / "run", bos=5)
    assert trained.load(tmp_path / "run").vocabulary.bos == 5
    with pytest.raises(InputError, match="token 40 is to begin texts and is not one of 32; give --bos=ID"):
        runs.imported(there, tmp_path / "other", bos=40)
    assert not (tmp_path / "other").exists()
