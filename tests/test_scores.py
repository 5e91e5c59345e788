"""The scores of a comparison are of the kept translations, and so is its significance."""

import dataclasses
import json
import subprocess
import sys
import types
from typing import Any, cast

import numpy as np
import pytest
import sacrebleu
from reported import PAIR, experiment
from toy import records

from mqa_jax import compare, workdir
from mqa_jax.data import sources, test_sets
from mqa_jax.data import vocabulary as vocabularies
from mqa_jax.data.corpus import Split
from mqa_jax.data.text import read_lines
from mqa_jax.decode import generate
from mqa_jax.evaluate import quality
from mqa_jax.model.build import build
from mqa_jax.report import page
from mqa_jax.timing import sweep
from mqa_jax.train import trained


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A comparison of two test sets of sacreBLEU, in which translations are the references with words left out,
    different ones each time."""
    folder, random = tmp_path_factory.mktemp("scored"), np.random.default_rng(0)

    def change(base):
        base.data.sentences, base.decode.test_sets = 400, ("wmt14", "wmt14/full")

    variants = [experiment("toy", each, change=change) for each in PAIR]
    whole = sources.load(variants[0].data, "translation")
    splits = {name: Split.of_pairs(split.pairs()[:100]) for name, split in whole.splits.items()}
    corpus = dataclasses.replace(whole, splits=splits)
    full = Split.of_pairs(whole.splits["test"].pairs()[100:200])
    sets = {"wmt14": Split.of_pairs(full.pairs()[:80]), "wmt14/full": full}
    references = {split.source: split.target for split in (*corpus.splits.values(), *sets.values())}
    by_name = {each.variant: each for each in variants}

    def load(folder):
        variant, seed = folder.name.split("-s")
        of = dataclasses.replace(by_name[variant], seed=int(seed))
        return trained.Trained(folder, of, build(of.model), {}, cast(Any, None), (1,))

    def translate(lines, *_):
        spoil = lambda line: " ".join(word for word in line.split() if random.random() < 0.9)  # noqa: E731
        return generate.Generated([spoil(line) for line in references[lines]], [], 100, 1, 31, 1)

    def obtain(data, corpus, path):
        path.touch()
        return types.SimpleNamespace(fingerprint="", path=path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "load", lambda *_: corpus)
        patch.setattr(test_sets, "load", lambda name, asked_by: (sets[name], f"{name}, asked by {asked_by}"))
        patch.setattr(vocabularies, "obtain", obtain)
        patch.setattr(compare, "train", lambda of, corpus, vocabulary, run: workdir.claim(run, of, {}))
        patch.setattr(trained, "load", load)
        patch.setattr(trained.Trained, "decoding_parameters", lambda _: {})
        patch.setattr(quality, "perplexity_of", lambda *_: None)
        patch.setattr(generate, "translate", translate)
        patch.setattr(sweep, "time_missing", lambda *_: None)
        patch.setattr(page, "write", lambda *_: None)
        compare.compare(variants, [0, 1], folder)
    return folder, {"dev": corpus.splits["dev"], **sets}


def test_scores_are_of_the_kept_translations_against_the_references(scored):
    """Of each set by its name, and none of the corpus's own test."""
    folder, texts = scored
    found = [(r["split"], r["beam"], r["split_from"]) for r in records(folder, "quality")]
    named = [(name, f"{name.replace('-', '/')}, asked by config.decode.test_sets") for name in ("wmt14", "wmt14-full")]
    wanted = [("dev", 1, quality.OWN), *((name, beam, origin) for name, origin in named for beam in (1, 4))]
    assert sorted(found) == sorted(4 * wanted)
    for record in records(folder, "quality"):
        kept = read_lines(folder / f"{record['variant']}-s{record['seed']}" / record["hypotheses"])
        wanted = list(texts[record["split"].replace("-", "/")].target)
        assert record["bleu_13a"] == pytest.approx(sacrebleu.corpus_bleu(kept, [wanted]).score)
        assert record["bleu_intl"] == pytest.approx(sacrebleu.corpus_bleu(kept, [wanted], tokenize="intl").score)
        assert record["chrf"] == pytest.approx(sacrebleu.corpus_chrf(kept, [wanted]).score)
        assert abs(record["bleu_13a"] - sacrebleu.corpus_bleu(wanted, [kept]).score) > 0.1, "exchanged"


def test_sacrebleus_command_line_scores_a_run_as_it_is(scored):
    folder, _ = scored
    run = folder / "multi_query-s1"
    (record,) = [r for r in records(run, "quality") if (r["split"], r["beam"]) == ("wmt14", 4)]
    command = [sys.executable, "-m", "sacrebleu", record["references"], "-i", record["hypotheses"]]
    command += ["-m", "bleu", "chrf", "-w", "4"]
    bleu, chrf = json.loads(subprocess.run(command, cwd=run, capture_output=True, check=True).stdout)
    assert (bleu["score"], chrf["score"]) == (pytest.approx(record["bleu_13a"], abs=1e-4), round(record["chrf"], 4))
    assert bleu["signature"] == record["signature_13a"] and chrf["signature"] == record["signature_chrf"]
    assert sorted(path.name for path in (run / "references").iterdir()) == ["dev.txt", "wmt14-full.txt", "wmt14.txt"]


def test_significance_is_of_the_translations_of_its_beam_and_seed(scored):
    folder, _ = scored
    bleu = {(r["variant"], r["seed"], r["split"], r["beam"]): r["bleu_intl"] for r in records(folder, "quality")}
    assert len(set(bleu.values())) == 20
    first, second = records(folder, "significance")
    assert (first["seed"], second["seed"]) == (0, 1)
    for record in (first, second):
        assert (record["split"], record["beam"], record["baseline"]) == ("wmt14", 4, "multi_head")
        assert [row["variant"] for row in record["rows"]] == PAIR
        for row in record["rows"]:
            assert row["score"] == pytest.approx(bleu[row["variant"], record["seed"], "wmt14", 4])
