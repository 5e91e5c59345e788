"""What heads look at, against float64 twins and with figures known beforehand; how far decoding drifts; commands."""

import dataclasses
import json
import operator
import shutil

import forks
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import BOS, attention, batch, model, parameters, sentences
from test_run import tiny

from mqa_jax import records, workdir
from mqa_jax.attention.contract import Whole
from mqa_jax.batch import Batch, Rows
from mqa_jax.data import sources, vocabulary
from mqa_jax.evaluate import drift, inspection, stepwise
from mqa_jax.evaluate.inspection import Sums
from mqa_jax.evaluate.patterns import divergence, entropy
from mqa_jax.evaluate.rank import Moments
from mqa_jax.interop import folder
from mqa_jax.model.build import build
from mqa_jax.model.tap import Seen
from mqa_jax.report.selection import measurements

# A model in plain float64, one sentence at a time, from its parameters alone.


def norm(x_LD, scale_D):
    return x_LD / np.sqrt((x_LD**2).mean(-1, keepdims=True) + 1e-6) * scale_D


def turned(x_LHP, base):
    """Rotary positions: pairs are a number of the first half and the same one of the second."""
    half = x_LHP.shape[-1] // 2
    angle = np.arange(len(x_LHP))[:, None, None] * base ** (-np.arange(half) / half)
    first, second = x_LHP[..., :half], x_LHP[..., half:]
    return np.concatenate(
        [first * np.cos(angle) - second * np.sin(angle), second * np.cos(angle) + first * np.sin(angle)], -1
    )


def heads_of(config, w, x_LD, memory_MD, cross):
    """q_LHK, k_MHK, v_MHV: every query head with keys and values of its own."""
    made, rotary = w.get("memory", w["inputs"]), getattr(config, "rotary", None)
    q = np.einsum("ld,dhk->lhk", x_LD, w["inputs"]["wq_DHK"])
    if config.name == "latent":
        row, C, K = memory_MD @ made["wc_DC"], config.kv_rank, config.key_size
        latent, key = norm(row[:, :C], w["norm"]["scale_D"]), row[:, None, C:]
        k, v = (np.einsum("mc,chk->mhk", latent, w[name]) for name in ("wk_CHK", "wv_CHV"))
        if not cross:
            q = np.concatenate([q[..., :K], turned(q[..., K:], rotary.base)], -1)
            k = np.concatenate([k, np.repeat(turned(key, rotary.base), config.heads, 1)], -1)
        return q / np.sqrt(q.shape[-1]), k, v
    k, v = (np.einsum("md,dgk->mgk", memory_MD, made[name]) for name in ("wk_DGK", "wv_DGV"))
    k, v = (np.repeat(each, config.heads // config.write_heads, 1) for each in (k, v))
    return q / np.sqrt(q.shape[-1]), k, v


def attended(config, w, x_LD, memory_MD, cross, causal):
    """The output, and p_HLM."""
    q, k, v = heads_of(config, w, x_LD, memory_MD, cross)
    scores = np.einsum("lhk,mhk->hlm", q, k)
    for i in range(len(x_LD)):
        for j in range(len(memory_MD)):
            far = config.window is not None and i - j >= config.window and j >= config.sinks
            if causal and (j > i or far):
                scores[:, i, j] = -np.inf
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return np.einsum("hlm,mhv,hvd->ld", p, v, w["output"]["wo_HVD"]), p


def stack(configs, w, x_LD, memory_MD, causal, found):
    for layer, (own, cross) in enumerate(configs):
        block = w["blocks"][layer]
        h = norm(x_LD, block["attention_norm"]["scale_D"])
        y, p = attended(own, block["attention"], h, h, False, causal)
        found["decoder" if causal else "encoder"].append(p)
        x_LD = x_LD + y
        if cross is not None and memory_MD is not None:
            h = norm(x_LD, block["cross_norm"]["scale_D"])
            y, p = attended(cross, block["cross"], h, memory_MD, True, False)
            found["cross"].append(p)
            x_LD = x_LD + y
        h = norm(x_LD, block["feed_forward_norm"]["scale_D"])
        x_LD = (
            x_LD
            + np.maximum(h @ block["feed_forward"]["inputs"]["w_in_DF"], 0)
            @ block["feed_forward"]["output"]["w_out_FD"]
        )
    return norm(x_LD, w["norm"]["scale_D"])


def twin(config, w, source, target):
    """p_HLM of every attention for one sentence, by site."""
    w = jax.tree.map(lambda each: np.asarray(each, np.float64), w)
    embed = lambda ids: (w["embedding"]["tokens_VD"][ids] + w["embedding"]["positions_PD"][: len(ids)]) * 4  # noqa: E731
    found = {"encoder": [], "decoder": [], "cross": []}
    encoder = [(each, None) for each in config.encoder.attentions]
    memory = stack(encoder, w["encoder"], embed(source), None, False, found)
    decoder = list(zip(config.decoder.attentions, config.decoder.crosses, strict=True))
    stack(decoder, w["decoder"], embed([BOS, *target[:-1]]), memory, True, found)
    return found


SOURCES, TARGETS = sentences(1, [5, 9, 3]), sentences(2, [7, 4, 8])


@pytest.mark.parametrize(
    ("kind", "sight"), [(1, "global"), (2, "sinks"), (4, "local"), ("latent", "global"), ("latent", "local")]
)
def test_probabilities_are_those_of_plain_attention(kind, sight):
    of = model("translation", kind, sight)
    w = parameters(of)
    found = inspection.forward(of, w, batch(TARGETS, 10, SOURCES))
    assert {site: len(layers) for site, layers in found.items()} == {"encoder": 1, "decoder": 2, "cross": 2}
    for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        for site, layers in twin(of.config, w, source, target).items():
            for seen, p_HLM in zip(found[site], layers, strict=True):
                _, L, M = p_HLM.shape
                got_HLM = inspection.probabilities(seen)[row]
                np.testing.assert_allclose(got_HLM[:, :L, :M], p_HLM, atol=2e-5)
                np.testing.assert_array_equal(got_HLM[:, :L, M:], 0)


def test_rows_are_what_a_cache_keeps():
    of = model("language", "latent")
    (_, seen), config = inspection.forward(of, parameters(of), batch(TARGETS, 10))["decoder"], attention("latent")
    assert seen.rows["latent"].shape == (3, 10, 1, config.kv_rank + config.rotary_size)
    assert seen.k_BMGK.shape == (3, 10, 4, config.key_size + config.rotary_size)
    latent = np.asarray(seen.rows["latent"])[..., 0, : config.kv_rank]
    w = parameters(of)["decoder"]["blocks"][1]["attention"]["wv_CHV"]
    np.testing.assert_allclose(np.einsum("bmc,chv->bmhv", latent, w), seen.v_BMGV, atol=1e-5)


# Figures.


@pytest.mark.parametrize("kind", [2, "latent"])
def test_padding_and_neighbours_in_a_row_do_not_count(kind):
    """Two sentences packed into a row with padding behind, against each alone in a row of its length."""
    of = model("translation", kind, "sinks")
    w = parameters(of)

    def packed(lines, length):
        tokens, segments, positions = (np.zeros((1, length), np.int32) for _ in range(3))
        tokens[0, : sum(map(len, lines))] = np.concatenate(lines)
        segments[0, : sum(map(len, lines))] = np.repeat(range(1, len(lines) + 1), [len(line) for line in lines])
        positions[0, : sum(map(len, lines))] = np.concatenate([np.arange(len(line)) for line in lines])
        return Rows(*map(jnp.asarray, (tokens, segments, positions)))

    def rows(sources, targets, source_length, target_length):
        inputs = packed([[BOS, *line[:-1]] for line in targets], target_length).tokens_BL
        return Batch(packed(targets, target_length), inputs, packed(sources, source_length))

    together = rows(SOURCES[:2], TARGETS[:2], 18, 16)
    alone = [rows([s], [t], len(s), len(t)) for s, t in zip(SOURCES[:2], TARGETS[:2], strict=True)]
    sums = [jax.tree.map(Sums.of, inspection.forward(of, w, each), is_leaf=is_seen) for each in (together, *alone)]
    assert sums[0]["cross"][0].patterns.queries == sum(map(len, TARGETS[:2]))
    assert sums[0]["cross"][0].spaces["keys"].tokens == sum(map(len, SOURCES[:2]))
    got, expected = sums[0], jax.tree.map(operator.add, *sums[1:])
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-4, rtol=1e-4), got, expected)


def is_seen(x):
    return isinstance(x, Seen)


def test_an_even_look_is_the_logarithm_of_what_is_seen():
    segments_BL = np.ones((1, 5), np.int32)
    zeros = np.zeros((1, 5, 4, 2), np.float32)
    sight = Whole(segments_BL, segments_BL, np.tril(np.ones((1, 5, 5), bool)))
    patterns = Sums.of(Seen(zeros, zeros[:, :, :2], zeros[:, :, :2], {}, sight)).patterns
    logarithms = np.log([1, 2, 3, 4, 5])
    np.testing.assert_allclose(patterns.entropy_H, [logarithms.sum()] * 4, rtol=1e-6)
    np.testing.assert_allclose(patterns.uniform, logarithms.sum())
    assert (patterns.queries, patterns.several) == (5, 4), "the first sees one token"
    np.testing.assert_allclose(patterns.share_H, [4] * 4, rtol=1e-6)
    assert abs(patterns.divergence) < 1e-6
    np.testing.assert_allclose(entropy(np.array([[1.0, 0], [0.25, 0.75]])), [0, 0.5623351], atol=1e-7)


def test_divergence_is_0_of_equal_heads_and_log_2_of_those_that_share_nothing():
    one, other = [0.2, 0.8, 0, 0], [0, 0, 0.5, 0.5]
    p_NHM = np.array([[one, one, one], [one, other, one]])
    np.testing.assert_allclose(divergence(p_NHM), [0, np.log(2) * 2 / 3], atol=1e-12)
    np.testing.assert_array_equal(divergence(p_NHM[:, :1]), 0)


def test_effective_rank_of_known_matrices():
    """Variances 1, 1 and 1 in one head, 1 and 3 in the other, no two of them together, around a mean far away."""
    signs_NF = np.array([[(row >> bit & 1) * 2.0 - 1 for bit in range(5)] for row in range(32)])
    x_NGX = np.zeros((32, 2, 4))
    x_NGX[:, 0, :3], x_NGX[:, 1, 1:3] = signs_NF[:, :3], signs_NF[:, 3:] * np.sqrt([1, 3])
    x_NGX += 50
    halves = Moments.of(x_NGX[:10]), Moments.of(x_NGX[10:])
    all_heads, heads = jax.tree.map(operator.add, *halves).ranks()
    shares = lambda *variances: np.exp(entropy(np.array(variances) / sum(variances)))  # noqa: E731
    np.testing.assert_allclose(heads, [3, shares(1, 3)], rtol=1e-6)
    np.testing.assert_allclose(all_heads, shares(1, 1, 1, 1, 3), rtol=1e-6)
    assert Moments.of(np.zeros((3, 1, 2))).ranks() == (0, [0])


# The command.

VARIANTS = "multi_head", "mla"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of runs, with parameters of their start; and one of another task, one of another vocabulary."""
    base = tmp_path_factory.mktemp("inspect")
    corpus = sources.load(tiny().data, "translation")
    words = vocabulary.obtain(tiny().data, corpus, base / "vocabulary.model")
    experiment, latent = tiny("multi_head"), attention("latent")
    stacks = dict(encoder={"attention": (latent.everywhere(),)})
    stacks |= dict(decoder={"attention": (latent,), "cross": (latent.across(),)})
    stacks = {name: dataclasses.replace(getattr(experiment.model, name), **each) for name, each in stacks.items()}
    of_latents = dataclasses.replace(experiment, variant="mla", model=dataclasses.replace(experiment.model, **stacks))
    for variant, each in zip(VARIANTS, (experiment, of_latents), strict=True):
        made = build(each.model).init(jax.random.key(0))
        folder.write(base / f"{variant}-s0", each, made, words, corpus.digests, {"kind": "train"})
        (base / f"{variant}-s0" / "records" / "train.json").unlink()
    language = dataclasses.replace(experiment, model=dataclasses.replace(experiment.model, encoder=None))
    for name, other, fingerprint in (("lm", language, "x"), ("words", experiment, "x")):
        (base / name).mkdir()
        workdir.claim(base / name, other, {"vocabulary": fingerprint})
    return base


def start(base, *more, names=tuple(f"{variant}-s0" for variant in VARIANTS), to="to", script="inspect_attention"):
    given = f"--workdirs={','.join(str(base / name) for name in names)}", f"--to={base / to}"
    return forks.run(f"scripts/{script}.py", *given, *more)


def test_records_and_page_are_made_and_the_page_again_from_the_records_alone(runs):
    result = start(runs, "--sentences=6", "--json=-")
    assert result.returncode == 0, result.stderr
    found = {record["variant"]: record for record in records.read(runs / "to")}
    shown = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record["variant"] for record in shown] == [*VARIANTS] and found == {r["variant"]: r for r in shown}
    for record in shown:
        assert (record["kind"], record["split"], record["sentences"]) == ("attention", "dev", 6)
        assert [(layer["site"], layer["layer"]) for layer in record["layers"]] == [
            ("encoder", 0),
            ("decoder", 0),
            ("cross", 0),
        ]
        for layer in record["layers"]:
            assert len(layer["entropy"]) == 4 and 0 < max(layer["entropy"]) <= layer["uniform_entropy"]
            assert 0 < layer["divergence"] < np.log(2) and max(layer["normalised_entropy"]) <= 1
            keys = layer["spaces"]["keys"]
            assert max(keys["rank_by_head"]) <= keys["rank"] <= keys["dimensions"] == 4 * keys["head_dimensions"]
        assert record["decoder_divergence"] == record["layers"][1]["divergence"]
        weights_HLM = np.array(record["maps"]["cross"]["weights"])
        assert weights_HLM.shape == (4, *(len(record["maps"]["cross"][side]) for side in ("queries", "memory")))
        np.testing.assert_allclose(weights_HLM.sum(-1), 1, atol=0.02)
    assert found["mla"]["decoder_latent_rank"] <= found["mla"]["decoder_latent_dimensions"]
    assert "decoder_latent_rank" not in found["multi_head"]
    page = (runs / "to" / "attention.md").read_text()
    assert f"| multi_head-s0 | {found['multi_head']['cross_entropy']:.2f} |" in page
    assert f"| {found['multi_head']['cross_keys_rank']:.1f} of 32 |" in page
    assert page.count(".svg)") == 6 and (runs / "to" / "attention.html").read_text().count('<img src="data:') == 6
    assert_made_again(runs / "to", ["attention.md", "attention.html", "attention_entropy.svg"])
    assert measurements(found.values()) == [], "no other report counts them"


def assert_made_again(of, names):
    """Pages and pictures, from the records in a folder without them."""
    alone = of.with_name(f"{of.name}-alone")
    for path in of.rglob("records/*.json"):
        (alone / path.relative_to(of)).parent.mkdir(parents=True)
        shutil.copy(path, alone / path.relative_to(of))
    made = forks.run("scripts/report.py", f"--workdir={alone}")
    assert made.returncode == 0 and not (alone / "report.md").exists(), made.stderr
    for name in names:
        assert (alone / name).read_text() == (of / name).read_text(), name


def test_drift_is_counted_and_has_a_page(runs):
    result = start(runs, "--sentences=40", names=["multi_head-s0"], to="drift", script="drift")
    assert result.returncode == 0, result.stderr
    (record,) = found = records.read(runs / "drift")
    types = {each["types"]: each for each in record["by_types"]}
    assert types.keys() == set(drift.TYPES) and measurements(found) == []
    assert record["tokens"] == sum(record["tokens_at"]) and record["tokens_at"][0] == 40
    assert types["float32"]["changed"] < 0.001 < types["weights int8, cache int8"]["changed"] < 0.5
    for each in types.values():
        assert each["changed"] == pytest.approx(sum(each["changed_at"]) / record["tokens"])
        assert len(each["changed_at"]) == len(record["tokens_at"]) and 0 <= each["outputs"] <= 1
    page = (runs / "drift" / "drift.md").read_text()
    assert page.count("| multi_head-s0 |") == len(drift.TYPES) and "(drift.svg)" in page
    assert_made_again(runs / "drift", ["drift.md", "drift.html", "drift.svg"])


def test_changes_are_counted_at_their_place(runs, monkeypatch):
    """Another token from the third place on; padding behind a line counts nowhere."""
    cached = stepwise.choices_of_rows
    late = lambda model, w, rows: cached(model, w, rows) + (jnp.arange(rows.inputs_BL.shape[1])[None] >= 2)  # noqa: E731
    monkeypatch.setattr(drift.stepwise, "choices_of_rows", late)
    monkeypatch.setattr(drift, "TYPES", {"float32": drift.TYPES["float32"]})
    split = sources.load(tiny().data, "translation").splits["dev"].first(12)
    record = drift.drift(runs / "multi_head-s0", split, "dev")
    (types,), tokens = record["by_types"], record["tokens_at"]
    assert types["changed_at"] == [0, 0, *tokens[2:]] and tokens[0] == 12 > tokens[-1] > 0
    assert types["outputs"] == 0


@pytest.mark.parametrize("kind", [1, 2, 4, "latent"])
@pytest.mark.parametrize("task", ["translation", "language"])
def test_choices_over_a_cache_are_those_of_whole_sequences(task, kind):
    of = model(task, kind)
    w, lines = parameters(of), batch(TARGETS, 10, SOURCES if task == "translation" else None)
    whole_BL = drift.whole_choices(of, w, lines)
    real_BL = np.asarray(lines.target.segments_BL) > 0
    np.testing.assert_array_equal(whole_BL, of.bind(w)(lines).argmax(-1))
    cached_BL = stepwise.choices_of_rows(of, of.lay_out(w), lines)
    np.testing.assert_array_equal(np.asarray(cached_BL)[real_BL], np.asarray(whole_BL)[real_BL])


@pytest.mark.parametrize(
    ("names", "more", "words"),
    [
        (["nothing"], [], "--workdirs=BASE/nothing holds no run"),
        (["mla-s0", "mla-s0"], [], "--workdirs names mla-s0 twice"),
        (["mla-s0", "lm"], [], "--workdirs: BASE/mla-s0 is of translation, BASE/lm of language; give runs of one task"),
        (["mla-s0", "words"], [], "--workdirs: BASE/words has the vocabulary x, BASE/mla-s0 has"),
        (
            ["mla-s0"],
            ["--split=valid"],
            "--split=valid is not in the corpus of BASE/mla-s0; choose from: dev, test, tr",
        ),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(runs, names, more, words):
    result = start(runs, *more, names=names, to="bad")
    assert result.returncode == 2 and result.stderr.count("\n") == 1, result.stderr
    assert words.replace("BASE", str(runs)) in result.stderr and not (runs / "bad").exists()
