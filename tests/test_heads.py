"""Fewer key/value heads: what leaves a model as it was merges exactly."""

import dataclasses

import jax
import numpy as np
import pytest
import small

from mqa_jax.errors import InputError
from mqa_jax.interop import convert, heads
from mqa_jax.interop.heads import Heads, Moments
from mqa_jax.interop.targets import Factored, Pooled

D, H, G, K, V = 20, 8, 4, 6, 5
FREQUENCIES = np.array([1.0, 0.3, 0.1])


def random(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape) / 3


X_LD = np.concatenate([random(9, D - 1), np.ones((9, 1))], axis=1)  # the last row of the weights is a bias
SOURCE = Heads(random(D, H, K), random(D, G, K), random(D, G, V), random(H, V, D))
MOMENTS = Moments(*(X_MD.T @ X_MD for X_MD in (random(50, D, seed=1), random(50, D, seed=2))))


def attend(weights, rotary):
    """Plain attention of every position to every position, in complex numbers where positions turn."""
    q, k, v = (np.einsum("ld,dhk->lhk", X_LD, weight) for weight in weights[:3])
    if rotary:
        turn = np.exp(1j * np.arange(len(X_LD))[:, None, None] * FREQUENCIES)
        q, k = ((half[..., : K // 2] + 1j * half[..., K // 2 :]) * turn for half in (q, k))
    k, v = (np.repeat(each, H // each.shape[1], axis=1) for each in (k, v))
    weight_HLM = np.exp(np.einsum("lhk,mhk->hlm", q.conj(), k).real)
    weight_HLM /= weight_HLM.sum(-1, keepdims=True)
    return np.einsum("hlm,mhv,hvd->ld", weight_HLM, v, weights.wo_HVD)


def far(one, other, rotary=False):
    return np.abs(attend(one, rotary) - attend(other, rotary)).max()


BOTH = pytest.mark.parametrize("rotary", [False, True])


@BOTH
@pytest.mark.parametrize("pool", heads.POOLS)
def test_as_many_heads_as_before_change_nothing(pool, rotary):
    assert far(heads.pooled(SOURCE, G, heads.POOLS[pool], rotary, MOMENTS), SOURCE, rotary) < 1e-12


@BOTH
@pytest.mark.parametrize("moments", [None, MOMENTS])
@pytest.mark.parametrize("pool", ["procrustes", "activations"])
def test_heads_that_only_the_invariances_tell_apart_merge_exactly(pool, moments, rotary):
    """Biases too. An invertible map for values; for keys as well, or one complex number a pair where these turn."""
    keys = [heads.blocks(random(D, 1, K), rotary)] * G
    maps = [random(K // 2, 1, 1, seed=n) + 1j * random(K // 2, 1, 1, seed=n + G) for n in range(G)]
    maps = maps if rotary else [random(1, K, K, seed=n) for n in range(G)]
    wk_DGK = np.concatenate(
        [heads.whole(np.einsum("dgps,pst->dgpt", key, each)) for key, each in zip(keys, maps, strict=True)], axis=1
    )
    wv_DGV = np.concatenate([random(D, 1, V) @ random(V, V, seed=n) for n in range(G)], axis=1)
    alike = SOURCE._replace(wk_DGK=wk_DGK, wv_DGV=wv_DGV)
    for write_heads in (2, 1):
        assert far(heads.pooled(alike, write_heads, heads.POOLS[pool], rotary, moments), alike, rotary) < 1e-10
    assert far(heads.pooled(alike, 1, heads.mean, rotary), alike, rotary) > 0.1  # they do differ


@pytest.mark.parametrize("pool", ["mean", "first"])
def test_mean_and_first_are_what_they_say(pool):
    made = heads.pooled(SOURCE, 2, heads.POOLS[pool], False)
    for name in ("wk_DGK", "wv_DGV"):
        pairs = getattr(SOURCE, name).reshape(D, 2, 2, -1)
        np.testing.assert_allclose(getattr(made, name), pairs.mean(2) if pool == "mean" else pairs[:, :, 0], atol=1e-15)
    np.testing.assert_allclose(made.wq_DHK, SOURCE.wq_DHK, atol=1e-15)
    np.testing.assert_allclose(made.wo_HVD, SOURCE.wo_HVD, atol=1e-15)


@BOTH
def test_activations_keep_what_the_text_has(rotary):
    """Inputs on one line: whatever the heads' weights are, one head holds all of it, if it is told so."""

    def products(made):
        k_DHK = np.repeat(made.wk_DGK, H // made.wk_DGK.shape[1], axis=1)
        return np.einsum("d,dhk,ehk->eh", X_LD[0], k_DHK, made.wq_DHK)

    line = Moments(MOMENTS.queries_DD, np.outer(X_LD[0], X_LD[0]))
    told, untold = (heads.pooled(SOURCE, 1, heads.principal, rotary, each) for each in (line, None))
    lost = [np.abs(products(made) - products(SOURCE)).max() for made in (told, untold)]
    assert lost[0] < 1e-10 < 1e-2 < lost[1]


@pytest.mark.parametrize("moments", [None, MOMENTS])
def test_a_latent_of_full_rank_is_the_same_attention(moments):
    def rank(size):
        made = heads.factored(SOURCE, size, moments=moments)
        up = (np.einsum("dc,chk->dhk", made.wc_DC, each) for each in (made.wk_CHK, made.wv_CHV))
        return far(Heads(made.wq_DHK, *up, SOURCE.wo_HVD), SOURCE)

    assert rank(D) < 1e-10 and rank(D - 5) > 1e-3  # the rank of [D, G (K + V)] is D


def test_the_keys_of_a_latent_keep_the_mean_of_their_turning():
    turn_P = np.array([0.9, 0.5j, -0.1])
    made = heads.factored(SOURCE, D, turn_P=turn_P)
    keys = heads.blocks(np.einsum("dc,chk->dhk", made.wc_DC, made.wk_CHK), True)
    expected = heads.blocks(np.repeat(SOURCE.wk_DGK, H // G, axis=1), True) * turn_P[:, None]
    np.testing.assert_allclose(keys, expected, atol=1e-10)


# Models.


def made_of(model, seed=0):
    sentences = [small.sentences(seed + side, [9, 5, 7]) for side in range(2)]
    return small.batch(sentences[0], 9, None if model.config.encoder is None else sentences[1])


def logits(model, parameters, batch):
    return np.asarray(small.Compiled(model.bind(parameters))(batch))


def same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    return all(np.allclose(*pair, atol=1e-5) for pair in zip(*map(jax.tree.leaves, (one, other)), strict=True))


@pytest.fixture(scope="module", params=["translation", "language"])
def source(request):
    """A model whose attentions have windows and sinks, rotary for language."""
    kind = 4 if request.param == "translation" else "grouped_2_rotary"
    model = small.model(request.param, kind, "sinks")
    return model, small.parameters(model), made_of(model)


def test_converting_layer_after_layer_is_converting_them_one_by_one(source):
    """Each on the inputs that the model converted so far gives it; and each conversion is another without the text."""
    model, parameters, batch = source
    target, order = Pooled(1, "activations"), [("decoder", 0), ("cross", 0), ("decoder", 1), ("cross", 1)]
    order = order if model.config.encoder else [pair for pair in order if pair[0] == "decoder"]
    at_once = convert.convert(model, parameters, target, [*dict.fromkeys(site for site, _ in order)], (), batch)
    one_by_one = model, parameters
    for site, layer in order:
        one_by_one = convert.convert(*one_by_one, target, [site], [layer], batch)
    assert one_by_one[0] == at_once[0] and same(one_by_one[1], at_once[1])
    layers = [convert.convert(model, parameters, target, ["decoder"], [layer], batch)[1] for layer in (0, 1)]
    first, second = (each["decoder"]["blocks"][n]["attention"] for n, each in enumerate(layers))
    assert same(first, at_once[1]["decoder"]["blocks"][0]["attention"])
    assert not same(second, at_once[1]["decoder"]["blocks"][1]["attention"])
    assert not same(convert.convert(model, parameters, target)[1]["decoder"], at_once[1]["decoder"])


class Watched(Pooled):
    """Keeps what it is told of the inputs."""

    def weights(self, source, config, positions, moments):
        seen.append(moments)
        return super().weights(source, config, positions, moments)


seen = []


def test_the_rows_of_cross_attention_are_made_of_the_memory():
    """And padding counts nowhere."""
    model = small.model("translation")
    parameters, batch = small.parameters(model), made_of(model)
    seen.clear()
    convert.convert(model, parameters, Watched(1, "mean"), ["cross"], [0], batch)
    memory_BMD = np.asarray(model.bind(parameters).encode(batch.source))
    memory_ND = memory_BMD[np.asarray(batch.source.segments_BL) > 0]
    assert len(memory_ND) == 9 + 5 + 7 < memory_BMD.shape[0] * memory_BMD.shape[1]
    ((queries_DD, rows_DD),) = seen
    np.testing.assert_allclose(rows_DD, memory_ND.T @ memory_ND / len(memory_ND), atol=1e-4)
    assert np.abs(queries_DD - rows_DD).max() > 0.1


def test_without_text_the_gains_of_the_norms_count():
    model = small.model("translation")
    parameters = small.parameters(model)
    gains = [random(16, seed=seed).astype("float32") for seed in range(3)]
    first = parameters["decoder"]["blocks"][0]
    first["attention_norm"]["scale_D"], first["cross_norm"]["scale_D"], parameters["encoder"]["norm"]["scale_D"] = gains
    seen.clear()
    convert.convert(model, parameters, Watched(1, "mean"), ["decoder", "cross"], [0])
    for found, which in zip([*seen[0], *seen[1]], (0, 0, 1, 2), strict=True):
        np.testing.assert_allclose(found, np.diag(gains[which] ** 2), atol=1e-6)


def test_only_the_chosen_layers_of_the_chosen_sites_change(source):
    model, parameters, _ = source
    made, values = convert.convert(model, parameters, Pooled(1, "mean"), ["decoder"], [1])
    before, after = model.config.decoder, made.config.decoder
    assert after.attention == (before.attentions[0], dataclasses.replace(before.attentions[1], write_heads=1))
    assert dataclasses.replace(after, attention=before.attention) == before  # windows, sinks, width of feed-forward
    assert dataclasses.replace(made.config, decoder=before) == model.config
    assert jax.tree.map(np.shape, values) == jax.tree.map(np.shape, made.shapes())
    new, old = ({**each["decoder"]["blocks"][1]} for each in (values, parameters))
    assert new.pop("attention").keys() == old.pop("attention").keys() and same(new, old)
    assert same(values["decoder"]["blocks"][0], parameters["decoder"]["blocks"][0])
    cycle = convert.converted(model.config, Pooled(1, "mean"), ["decoder"], [0, 1]).decoder.attention
    assert cycle == (after.attentions[1],)


def test_as_many_write_heads_are_the_same_model(source):
    model, parameters, batch = source
    present = model.config.decoder.attention[0].write_heads
    made, values = convert.convert(model, parameters, Pooled(present, "activations"), calibration=batch)
    assert made == model and same(values, parameters)


def test_random_heads_are_fresh_and_the_rest_is_kept(source):
    model, parameters, _ = source
    draws = [convert.convert(model, parameters, Pooled(1, "random"), ["decoder"], seed=seed)[1] for seed in (0, 0, 1)]
    one, again, other = (each["decoder"]["blocks"][0]["attention"]["inputs"] for each in draws)
    assert same(one, again) and not same(one["wk_DGK"], other["wk_DGK"])
    assert same(one["wq_DHK"], parameters["decoder"]["blocks"][0]["attention"]["inputs"]["wq_DHK"])
    assert not same(one["wk_DGK"], draws[0]["decoder"]["blocks"][1]["attention"]["inputs"]["wk_DGK"])


@pytest.mark.parametrize("pool", ["procrustes", "activations"])
def test_biases_are_pooled_with_their_weights(pool):
    """Heads that only a map of their own tells apart, biases too, merge exactly; the output's bias stays."""
    one = dataclasses.replace(small.attention(4), biases="all", rotary=small.ROTARY)
    model = small.model("language", [one, one])
    parameters, batch = small.parameters(model), made_of(model)
    for number, block in parameters["decoder"]["blocks"].items():
        inputs, output = block["attention"]["inputs"], block["attention"]["output"]
        output["bo_D"] = random(16, seed=number).astype("float32")
        for w, b, rotary in (("wk_DGK", "bk_GK", True), ("wv_DGV", "bv_GV", False)):
            size = inputs[w].shape[-1]
            head = heads.blocks(random(17, 1, size, seed=number), rotary)
            turns = random(4, size // 2, 1, 1, seed=number) + 1j * random(4, size // 2, 1, 1, seed=number + 9)
            maps = turns if rotary else random(4, 1, size, size, seed=number)
            alike = np.concatenate([heads.whole(np.einsum("dgps,pst->dgpt", head, each)) for each in maps], axis=1)
            inputs[w], inputs[b] = alike[:-1].astype("float32"), alike[-1].astype("float32")
    calibration = batch if pool == "activations" else None
    made, values = convert.convert(model, parameters, Pooled(1, pool), calibration=calibration)
    assert made.config.decoder.attention[0].biases == "all"
    np.testing.assert_allclose(logits(made, values, batch), logits(model, parameters, batch), atol=1e-4)
    with pytest.raises(InputError, match="decoder layer 0 has biases"):
        convert.converted(model.config, Factored(4, 0))


@pytest.mark.parametrize("calibrated", [False, True])
def test_latents_of_full_rank_are_the_same_model(calibrated):
    """In all three sites of an encoder-decoder, windows and sinks included: 16 is the model's width."""
    model = small.model("translation", 4, "sinks")
    parameters, batch = small.parameters(model), made_of(model)
    made, values = convert.convert(model, parameters, Factored(16, 0), calibration=batch if calibrated else None)
    assert {each.name for each in (*made.config.decoder.attention, *made.config.decoder.cross)} == {"latent"}
    np.testing.assert_allclose(logits(made, values, batch), logits(model, parameters, batch), atol=1e-4)


def test_a_rotary_key_takes_the_turning_of_a_latent():
    """One write head whose pairs all turn fast: the latent is left nothing of the keys, and the model is the same."""
    model = small.model("language", [dataclasses.replace(small.attention(1), rotary=small.ROTARY)])
    parameters, batch = small.parameters(model), made_of(model)
    made, values = convert.convert(model, parameters, Factored(10, 4))
    np.testing.assert_allclose(logits(made, values, batch), logits(model, parameters, batch), atol=1e-4)
    half, values = convert.convert(model, parameters, Factored(10, 2))  # the slow pair is in the latent
    assert np.abs(logits(half, values, batch) - logits(model, parameters, batch)).max() > 1e-2


REFUSED = {
    "a number that does not divide": (
        Pooled(3, "mean"),
        [],
        [],
        "does not divide the 4 write heads of encoder layer 0",
    ),
    "a layer outside": (Pooled(1, "mean"), ["cross"], [2], "--layers=2 is not in the cross, whose layers are 0 to 1"),
    "an unknown site": (Pooled(1, "mean"), ["middle"], [], "the model has no middle; choose from: encoder"),
    "a rank that is too high": (Factored(41, 0), [], [], "--kv_rank=41 is more than the 40 keys and values"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_converted_is_named(case):
    *given, words = REFUSED[case]
    with pytest.raises(InputError, match=words):
        convert.converted(small.model("translation").config, *given)


def test_other_types_and_rotary_sizes_that_do_not_fit_are_named():
    with pytest.raises(InputError, match="decoder layer 0 has latent attention; only grouped"):
        convert.converted(small.model("language", "latent").config, Pooled(1, "mean"))
    with pytest.raises(InputError, match="--rotary_size=3 must be even and divide the key size 4"):
        rotary = dataclasses.replace(small.TYPES["grouped_2_rotary"], biases="none")
        convert.converted(small.model("language", [rotary]).config, Factored(8, 3))
