"""The models: cached steps against whole sequences, packing, causality, budgets, dropout."""

import collections
import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small import (
    BOS,
    HEADS,
    SIGHTS,
    TYPES,
    VOCABULARY,
    WRITE_HEADS,
    Compiled,
    attention,
    batch,
    model,
    parameters,
    rows,
    sentences,
)

from mqa_jax.attention import registry
from mqa_jax.attention.cache import admit, grow, reorder
from mqa_jax.attention.config import Place
from mqa_jax.attention.grouped import Grouped
from mqa_jax.batch import Batch, Prompt, Rows
from mqa_jax.evaluate import stepwise
from mqa_jax.experiment import DropoutConfig
from mqa_jax.kernels import platforms
from mqa_jax.kernels.dropout import dropout
from mqa_jax.kernels.int8 import Int8
from mqa_jax.layers import Norm
from mqa_jax.model.build import cast, count
from mqa_jax.train.step import score

LENGTHS = [7, 12, 3]
# With sinks there is a window too. Without either, and with a window alone, those whose paths could differ.
EVERY_TYPE = [
    *((kind, "sinks") for kind in ("grouped_1", "grouped_2", "grouped_4", "latent")),
    *(("grouped_1", "global"), ("latent", "global"), ("grouped_2", "local")),
]
assert {TYPES[kind].name for kind, _ in EVERY_TYPE} == registry.TYPES.keys(), "a type that is registered is tested"
IN_BOTH_DTYPES = [
    (*case, "float32") for case in (*EVERY_TYPE, ("grouped_2_rotary", "sinks"), ("latent_ranked", "local"))
]
IN_BOTH_DTYPES += [(kind, "sinks", "bfloat16") for kind in ("grouped_1", "grouped_4", "latent")]
IN_BOTH_TASKS = [("language", *case) for case in EVERY_TYPE]
IN_BOTH_TASKS += [("translation", kind, "sinks") for kind in ("grouped_1", "grouped_4", "latent")]
IN_INT8 = [case for case in IN_BOTH_TASKS if case[2] != "local"]
# Rings of three lengths; two layers that differ in their sinks alone.
MIXED = [
    dataclasses.replace(attention(1), window=3),
    attention("latent", "sinks"),
    attention(2, "sinks"),
    attention("latent", "global"),
]
MIXED_TOO = [
    *IN_BOTH_TASKS,
    *(pytest.param(task, MIXED, "", id=f"{task}-mixed") for task in ("translation", "language")),
]


def in_both_types(task, kind, sight, dtype, inputs):
    """A module, its logits of whole sequences, and those in float32 of the same weights, as rounded to its type."""
    of = model(task, kind, sight, dtype)
    values = cast(parameters(of), dtype)
    module, exact = (
        Compiled(each) for each in (of.bind(values), model(task, kind, sight).bind(cast(values, "float32")))
    )
    return module, module(inputs), exact(inputs)


def assert_as_exact(found_BLV, whole_BLV, exact_BLV, dtype):
    """float32 must agree to its last digits. bfloat16 may stray from the exact logits twice as far as whole sequences
    in the same type do; half of what one key too few or too many of the smallest case comes to."""
    if dtype == "float32":
        np.testing.assert_allclose(found_BLV, whole_BLV, atol=2e-5)
        return
    strays = lambda logits_BLV: np.sqrt(np.square(np.asarray(logits_BLV - exact_BLV)).mean(-1)).max()  # noqa: E731
    assert 0 < strays(found_BLV) < 2 * strays(whole_BLV) < 0.01 * np.ptp(exact_BLV)


def feed(module, state, inputs_BL, start, stop):
    """The logits of positions start to stop - 1, one cached step at a time, for every beam."""
    W = state.ancestry_BWM.shape[1]
    step, logits = module.step, []
    for position in range(start, stop):
        tokens_BW = jnp.broadcast_to(inputs_BL[:, position, None], (inputs_BL.shape[0], W))
        state, logits_VBW = step(state, tokens_BW)
        logits.append(jnp.moveaxis(logits_VBW, 0, -1))
    return state, jnp.stack(logits, axis=2)


@pytest.mark.parametrize(("kind", "sight", "dtype"), IN_BOTH_DTYPES)
def test_translation_steps_equal_the_whole_forward(kind, dtype, sight):
    pairs = batch(sentences(0, LENGTHS), 12, sentences(1, [5, 9, 12]))
    module, whole_BLV, exact_BLV = in_both_types("translation", kind, sight, dtype, pairs)
    state = module.begin(pairs.source, 2, 12)
    config = attention(kind, sight)
    shapes = [each.shape for each in state.caches[0]]
    assert shapes == [(3, 2 * config.slots(12), row.width) for row in config.rows()]
    _, steps_BWLV = feed(module, state, pairs.inputs_BL, 0, 12)
    real = lambda logits_BLV: jnp.where(pairs.target.segments_BL[..., None] > 0, logits_BLV, 0)  # noqa: E731
    for beam in range(2):
        assert_as_exact(*map(real, (steps_BWLV[:, beam], whole_BLV, exact_BLV)), dtype)


@pytest.mark.parametrize(("kind", "sight", "dtype"), IN_BOTH_DTYPES)
def test_language_prefill_and_steps_equal_the_whole_forward(kind, dtype, sight):
    texts = batch(sentences(0, [12, 12, 12]), 12)
    module, whole_BLV, exact_BLV = in_both_types("language", kind, sight, dtype, texts)
    for prompt in (1, 9):
        given = Prompt(texts.inputs_BL[:, :prompt], jnp.full((3,), prompt))
        state = module.begin(given, 2, 12 - prompt)
        _, steps_BWLV = feed(module, state, texts.inputs_BL, prompt, 12)
        for beam in range(2):
            assert_as_exact(steps_BWLV[:, beam], whole_BLV[:, prompt:], exact_BLV[:, prompt:], dtype)


@pytest.mark.parametrize(("kind", "sight"), EVERY_TYPE)
def test_prompts_of_different_lengths_share_a_batch(kind, sight):
    """Each row of a left-padded batch goes on as it would alone."""
    of = model("language", kind, sight)
    module = Compiled(of.bind(parameters(of)))
    texts = batch(sentences(0, [12, 12, 12]), 12)
    whole_BLV = module(texts)
    lengths, P = [0, 2, 6], 6
    prompt_BP = np.zeros((3, P), np.int32)
    for row, size in enumerate(lengths):
        prompt_BP[row, P - size :] = texts.inputs_BL[row, :size]
    state = module.begin(Prompt(jnp.asarray(prompt_BP), jnp.asarray(lengths)), 1, 6)
    next_BL = jnp.stack([texts.inputs_BL[row, size : size + 6] for row, size in enumerate(lengths)])
    _, steps_BWLV = feed(module, state, next_BL, 0, 6)
    for row, size in enumerate(lengths):
        np.testing.assert_allclose(steps_BWLV[row, 0], whole_BLV[row, size : size + 6], atol=2e-5)


@pytest.mark.parametrize(("task", "kind", "sight"), MIXED_TOO)
def test_reordered_beams_equal_copied_caches(kind, sight, task):
    """The ancestry table against the plain way: every beam's own history fed from the start."""
    of, random = model(task, kind, sight), np.random.default_rng(0)
    module = Compiled(of.bind(parameters(of)))
    B, W, L = 3, 2, 12
    source = rows(sentences(1, [5, 9, 12]), 12)
    if task == "translation":
        begin = lambda beams: module.begin(source, beams, L)  # noqa: E731
    else:
        begin = lambda beams: module.begin(Prompt(source.tokens_BL[:, :2], jnp.full((B,), 2)), beams, L)  # noqa: E731
    state, step = begin(W), module.step
    histories = np.zeros((B, W, 0), np.int32)
    for _ in range(L):
        tokens_BW = random.integers(4, VOCABULARY, (B, W)).astype(np.int32)
        histories = np.concatenate([histories, tokens_BW[..., None]], axis=2)
        state, logits_VBW = step(state, jnp.asarray(tokens_BW))
        parents_BW = random.integers(0, W, (B, W)).astype(np.int32)
        state = reorder(state, jnp.asarray(parents_BW))
        last_VBW, fed = logits_VBW, histories
        histories = np.take_along_axis(histories, parents_BW[..., None], axis=1)
    for beam in range(W):
        _, alone_BWLV = feed(module, begin(1), jnp.asarray(fed[:, beam]), 0, L)
        np.testing.assert_allclose(last_VBW[..., beam].T, alone_BWLV[:, 0, -1], atol=2e-5)


@pytest.mark.parametrize(("kind", "sight", "dtype"), IN_BOTH_DTYPES)
def test_prefill_in_chunks_equals_the_whole_forward(kind, dtype, sight):
    lengths, P = [0, 4, 10, 11], 11
    texts = batch(sentences(0, [16] * 4), 16)
    module, *forwards = in_both_types("language", kind, sight, dtype, texts)
    after = [jnp.stack([each[row, size : size + 5] for row, size in enumerate(lengths)]) for each in forwards]
    prompt_BP = np.zeros((4, P), np.int32)
    for row, size in enumerate(lengths):
        prompt_BP[row, P - size :] = texts.inputs_BL[row, :size]
    prompt = Prompt(jnp.asarray(prompt_BP), jnp.asarray(lengths))
    next_BL = jnp.stack([texts.inputs_BL[row, size : size + 5] for row, size in enumerate(lengths)])
    for chunk in (3, 5, P):  # of which the last has 2, 1 and all tokens
        _, steps_BWLV = feed(module, module.begin(prompt, 2, 5, chunk), next_BL, 0, 5)
        for beam in range(2):
            assert_as_exact(steps_BWLV[:, beam], *after, dtype)


@pytest.mark.parametrize(("task", "kind", "sight"), MIXED_TOO)
def test_a_grown_cache_equals_one_that_was_large_from_the_start(kind, sight, task):
    """Beams change places, and a prompt that joins late is stored over the end of the ring."""
    of, random, W = model(task, kind, sight), np.random.default_rng(0), 2
    module, layers = Compiled(of.bind(parameters(of))), of.config.decoder.attentions
    pairs = batch(sentences(0, [3, 3]), 8, sentences(1, [5, 8]))
    given = pairs.source if task == "translation" else Prompt(pairs.inputs_BL[:, :3], jnp.asarray([3, 1]))
    tokens_TBW = jnp.asarray(random.integers(4, VOCABULARY, (9, 2, W)), jnp.int32)
    parents_TBW = jnp.asarray(random.integers(0, W, (9, 2, W)), jnp.int32)

    def decode(rooms):
        state, logits = module.begin(given, W, rooms[0]), []
        if task == "language":
            for _ in range(4):
                state, _ = module.step(state, tokens_TBW[0])
            state = jax.jit(admit, static_argnums=2)(state, module.begin(given, W, 0), layers, jnp.arange(2))
        for held, room in itertools.pairwise([rooms[0], *rooms]):
            state = jax.jit(grow, static_argnums=(1, 2))(state, layers, room - held)
            for t in range(len(logits), room):
                state, logits_VBW = module.step(state, tokens_TBW[t])
                state, logits = reorder(state, parents_TBW[t]), [*logits, logits_VBW]
        return jnp.stack(logits)

    np.testing.assert_allclose(decode((2, 5, 9)), decode((9,)), atol=2e-5)


@pytest.mark.parametrize(("task", "kind", "sight"), IN_BOTH_TASKS)
def test_a_sentence_that_joins_late_is_decoded_as_if_alone(kind, sight, task):
    """Rows are given to new sentences while others go on, over the end of the ring and in every row."""
    of, room = model(task, kind, sight), 6
    module = Compiled(of.bind(parameters(of)))
    count = 7
    texts = batch(sentences(0, [12] * count), 12, sentences(1, [5, 8, 3, 6, 7, 4, 8]))
    lengths = np.asarray([3, 1, 2, 0, 3, 3, 1])

    def inputs(members):
        if task == "translation":
            return jax.tree.map(lambda each: each[np.asarray(members)], texts.source)
        prompt_BP = np.zeros((len(members), 3), np.int32)
        for row, member in enumerate(members):
            prompt_BP[row, 3 - lengths[member] :] = texts.inputs_BL[member, : lengths[member]]
        return Prompt(jnp.asarray(prompt_BP), jnp.asarray(lengths[members]))

    def fed(member, t):
        return int(texts.inputs_BL[member, t + (lengths[member] if task == "language" else 0)])

    alone = {}
    for members in ([0, 1, 2], [3, 4, 5], [6, 0, 1]):
        tokens_BL = jnp.asarray([[fed(member, t) for t in range(room)] for member in members])
        logits_BWLV = feed(module, module.begin(inputs(members), 1, room), tokens_BL, 0, room)[1]
        alone |= dict(zip(members, logits_BWLV[:, 0], strict=True))
    step, join = module.step, jax.jit(admit, static_argnums=2)
    state = module.begin(inputs([0, 1, 2]), 1, room)
    ages, members, waiting = [0, 0, 0], [0, 1, 2], [3, 4, 5, 6]
    for clock in range(16):
        if clock in (2, 5, 9, 10):
            row, new = {2: 1, 5: 0, 9: 2, 10: 1}[clock], waiting.pop(0)
            # The second of the two is for no row at all: it must change nothing.
            state = join(
                state, module.begin(inputs([new, 0]), 1, 0), of.config.decoder.attentions, jnp.asarray([row, 3])
            )
            ages[row], members[row] = 0, new
        tokens = [fed(member, min(age, room - 1)) for member, age in zip(members, ages, strict=True)]
        state, logits_VBW = step(state, jnp.asarray(tokens)[:, None])
        for row, (member, age) in enumerate(zip(members, ages, strict=True)):
            if age < room:
                np.testing.assert_allclose(logits_VBW[:, row, 0], alone[member][age], atol=2e-5)
        ages = [age + 1 for age in ages]
    assert not waiting


@pytest.mark.parametrize(("task", "kind", "sight"), MIXED_TOO)
def test_a_sentence_that_joins_reordered_beams_is_decoded_as_if_alone(kind, sight, task):
    """The beams of the sentence whose row it takes had changed places; the others in the batch go on as before."""
    of, random = model(task, kind, sight), np.random.default_rng(0)
    module = Compiled(of.bind(parameters(of)))
    W, room, before = 3, 8, 5
    source = rows(sentences(1, [5, 8, 7]), 8)

    def begin(members, room):
        if task == "translation":
            return module.begin(jax.tree.map(lambda each: each[np.asarray(members)], source), W, room)
        lengths_B = jnp.asarray([1, 3, 3])[np.asarray(members)]  # the first one's beams write its second sink
        return module.begin(Prompt(source.tokens_BL[np.asarray(members), :3], lengths_B), W, room)

    tokens_TBW = jnp.asarray(random.integers(4, VOCABULARY, (before + room, 2, W)), jnp.int32)
    # All beams go on from the last one at first, so that no slot of the row is beam 0's any more.
    parents_TBW = jnp.asarray(np.r_[np.full((before, 2, W), W - 1), random.integers(0, W, (room, 2, W))], jnp.int32)
    step = module.step

    def go_on(state, times):
        logits = []
        for t in times:
            state, logits_VBW = step(state, tokens_TBW[t])
            state = reorder(state, parents_TBW[t])
            logits.append(logits_VBW)
        return state, jnp.stack(logits)

    first, second = range(before), range(before, room)
    state, _ = go_on(begin([0, 1], room), first)
    state = jax.jit(admit, static_argnums=2)(state, begin([2], 0), of.config.decoder.attentions, jnp.asarray([0]))
    _, joined_TVBW = go_on(state, second)
    _, alone_TVBW = go_on(begin([2, 0], room), second)
    _, other_TVBW = go_on(begin([0, 1], room), [*first, *second])
    np.testing.assert_allclose(joined_TVBW[:, :, 0], alone_TVBW[:, :, 0], atol=2e-5)
    np.testing.assert_allclose(joined_TVBW[:, :, 1], other_TVBW[before:, :, 1], atol=2e-5)


@pytest.mark.parametrize(("kind", "sight"), EVERY_TYPE)
def test_packed_equals_unpacked(kind, sight):
    of = model("translation", kind, sight)
    module = Compiled(of.bind(parameters(of)))
    targets, sources = sentences(0, [5, 4, 3]), sentences(1, [4, 6, 2])
    apart_BLV = module(batch(targets, 12, sources))

    def pack(each):
        ends = np.cumsum([len(x) for x in each])
        segments = np.concatenate([np.full(len(x), n + 1) for n, x in enumerate(each)])
        positions = np.concatenate([np.arange(len(x)) for x in each])
        tokens = np.concatenate(each)
        pad = lambda x: jnp.asarray(np.pad(x, (0, 12 - len(x)))[None], jnp.int32)  # noqa: E731
        return Rows(pad(tokens), pad(segments), pad(positions)), ends

    target, ends = pack(targets)
    source, _ = pack(sources)
    inputs, _ = pack([[BOS, *each[:-1]] for each in targets])
    together_1LV = module(Batch(target, inputs.tokens_BL, source))
    start = 0
    for row, end in enumerate(ends):
        np.testing.assert_allclose(together_1LV[0, start:end], apart_BLV[row, : end - start], atol=2e-5)
        start = end


@pytest.mark.parametrize(("task", "kind", "sight"), IN_BOTH_TASKS)
def test_causality_through_gradients(task, kind, sight):
    """The logits of position i depend on the inputs of i and before, within the window of each layer, and no others."""
    of = model(task, kind, sight)
    module, L = Compiled(of.bind(parameters(of))), 10
    pairs = batch(sentences(0, [L]), L, sentences(1, [L]))
    embedded_BLD = module.embedding(pairs.inputs_BL, pairs.target.positions_BL)
    target, source = pairs.target, pairs.source

    def logits_of(embedded_BLD, position):
        memory = (module.encode(source), source.segments_BL) if task == "translation" else ()
        return module.decoder(embedded_BLD, target.segments_BL, target.positions_BL, *memory)[0, position].sum()

    window, sinks = SIGHTS[sight]
    gradient = jax.jit(jax.grad(logits_of))
    for position in (0, 4, L - 1):
        gradient_L = np.abs(gradient(embedded_BLD, position)[0]).sum(-1)
        first = 0 if window is None else max(0, position - 2 * (window - 1))  # two layers
        seen = (np.arange(L) <= position) & ((np.arange(L) >= first) | (np.arange(L) < sinks))
        assert (gradient_L[seen] > 1e-7).all() and (gradient_L[~seen] == 0).all()


@pytest.mark.parametrize("task", ["translation", "language"])
def test_whole_model_is_causal_in_its_tokens(task):
    of = model(task, 1)
    module = Compiled(of.bind(parameters(of)))
    pairs = batch(sentences(0, [10]), 10, sentences(1, [10]))
    changed = pairs._replace(inputs_BL=pairs.inputs_BL.at[0, 6].set(5 + (pairs.inputs_BL[0, 6] == 5)))
    before, after = module(pairs)[0], module(changed)[0]
    np.testing.assert_array_equal(before[:6], after[:6])
    assert (jnp.abs(before[6:] - after[6:]).max(-1) > 1e-6).all()


def test_padding_and_other_segments_change_nothing():
    of = model("translation", 2)
    module = Compiled(of.bind(parameters(of)))
    pairs = batch(sentences(0, [5]), 8, sentences(1, [4]))
    noisy = pairs._replace(
        inputs_BL=pairs.inputs_BL.at[:, 5:].set(9),
        source=pairs.source._replace(tokens_BL=pairs.source.tokens_BL.at[:, 4:].set(9)),
    )
    np.testing.assert_array_equal(module(pairs)[:, :5], module(noisy)[:, :5])


def test_initial_standard_deviations():
    of = model("translation", 2)
    D, H, G, K = 256, 8, 2, 32
    attention = Grouped(heads=H, write_heads=G, key_size=K, value_size=K).module(Place(D), nnx.Rngs(params=0))
    for weight, std in [
        (attention.inputs.wq_DHK, D**-0.5),
        (attention.inputs.wk_DGK, D**-0.5),
        (attention.inputs.wv_DGV, D**-0.5),
        (attention.output.wo_HVD, (H * K) ** -0.5),
    ]:
        assert float(weight[...].std()) == pytest.approx(std, rel=0.05)
    values = of.init(jax.random.key(0))
    assert set(values) == {"embedding", "encoder", "decoder"} and "bias" not in str(jax.tree.structure(values))


def test_untied_softmax_is_a_table_of_its_own():
    """In whole sequences, in steps, and where weights are int8."""
    tied, untied = model("language"), model("language", tied=False)
    assert count(untied.shapes()) - count(tied.shapes()) == VOCABULARY * 16
    values, texts = untied.init(jax.random.key(0)), batch(sentences(0, [8, 8]), 8)
    module = untied.bind(values)
    wanted_BLV = module.hidden(texts) @ values["embedding"]["softmax_VD"].T
    np.testing.assert_allclose(module(texts), wanted_BLV, atol=1e-5)
    for weight_dtype, near in ((None, 1e-5), ("int8", 0.05)):
        of = model("language", tied=False, weight_dtype=weight_dtype)
        module = Compiled(of.bind(jax.jit(of.lay_out)(values)))
        state = module.begin(Prompt(texts.inputs_BL[:, :1], jnp.ones((2,), "int32")), 1, 7)
        _, steps_BWLV = feed(module, state, texts.inputs_BL, 1, 8)
        np.testing.assert_allclose(steps_BWLV[:, 0], wanted_BLV[:, 1:], atol=near * float(jnp.ptp(wanted_BLV)))


def test_dropout_needs_a_key_and_differs_by_key():
    of = model("translation", 1, dropout=DropoutConfig(0.2, 0.1, 0.1))
    module = Compiled(of.bind(parameters(of)))
    pairs = batch(sentences(0, [8]), 8, sentences(1, [8]))
    still, again = module(pairs), module(pairs)
    one, two = module(pairs, jax.random.key(1)), module(pairs, jax.random.key(2))
    np.testing.assert_array_equal(still, again)
    np.testing.assert_array_equal(one, module(pairs, jax.random.key(1)))
    assert jnp.abs(one - two).max() > 0.1 and jnp.abs(one - still).max() > 0.1


def test_every_place_of_dropout_draws_with_a_key_of_its_own(monkeypatch):
    """A stack drops its input, its output and what each block adds; each attention its weights; each feed-forward its
    hidden values. There is one encoder layer, and two decoder layers."""
    of = model("translation", 2, dropout=DropoutConfig(residual=0.3, attention=0.1, hidden=0.2))
    bernoulli, drawn = jax.random.bernoulli, []

    def recorded(key, p, *others):
        drawn.append((round(1 - float(p), 6), tuple(jax.random.key_data(key).tolist())))
        return bernoulli(key, p, *others)

    monkeypatch.setattr(jax.random, "bernoulli", recorded)
    module, pairs = of.bind(parameters(of)), batch(sentences(0, [8]), 8, sentences(1, [8]))
    with jax.disable_jit():  # the keys are to be read
        module(pairs, jax.random.key(1))
    counts = {0.3: 2 * 2 + 2 + 2 * 3, 0.1: 1 + 2 * 2, 0.2: 1 + 2}
    assert collections.Counter(rate for rate, _ in drawn) == counts
    assert len({key for _, key in drawn}) == len(drawn)


def test_dropout_keeps_the_mean():
    x = jnp.ones((64, 4, 512))
    y = dropout(x, 0.25, jax.random.key(0))
    assert float(y.mean()) == pytest.approx(1, rel=0.02)
    assert float((y == 0).mean()) == pytest.approx(0.25, rel=0.05)
    assert (y == y[:, :1]).all(), "one mask for all positions"


@pytest.mark.parametrize("task", ["translation", "language"])
def test_write_heads_are_stored_once(task):
    sizes = {G: count(model(task, G).shapes()) for G in WRITE_HEADS}
    attentions = 5 if task == "translation" else 2
    for G in WRITE_HEADS:
        assert sizes[HEADS] - sizes[G] == attentions * 16 * (HEADS - G) * (4 + 6)


def test_sources_encoded_a_few_rows_at_a_time_equal_all_at_once(monkeypatch):
    of = model("translation", 2)
    module = of.bind(parameters(of))
    source = rows(sentences(1, [5, 8, 3, 6, 7, 4]), 8)
    whole = module.begin(source, 1, 4)
    for at_once in (1, 8, 24, 40):  # of 6 rows of 8 tokens: 1, 1, 3, 3
        monkeypatch.setattr(platforms, "CPU", dataclasses.replace(platforms.CPU, encoded=at_once))
        for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(module.begin(source, 1, 4)), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_of_the_norm_match_those_of_its_plain_form(dtype):
    x = (3 * jax.random.normal(jax.random.key(0), (2, 5, 16))).astype(dtype)
    bar = jax.random.normal(jax.random.key(1), (2, 5, 16)).astype(dtype)
    scale = 1 + 0.3 * jax.random.normal(jax.random.key(2), (16,))

    def ours(x, scale):
        norm = Norm(16)
        norm.scale_D = nnx.Param(scale)
        return norm(x)

    def plain(x, scale):
        return x / jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6) * scale[None, None]

    (y, pull), (y_plain, pull_plain) = jax.vjp(ours, x, scale), jax.vjp(plain, x.astype("float32"), scale)
    tolerance = {"atol": 2e-6, "rtol": 1e-5} if dtype == "float32" else {"atol": 0.03, "rtol": 0.01}
    found = [y, *pull(bar)]
    assert [each.dtype for each in found] == [x.dtype, x.dtype, jnp.float32]
    for a, b in zip(found, [y_plain, *pull_plain(bar.astype("float32"))], strict=True):
        np.testing.assert_allclose(np.asarray(a, np.float32), b, **tolerance)


@pytest.mark.parametrize("task", ["translation", "language"])
def test_layers_of_different_attentions_mix(task):
    """Local, sinks and global, grouped and latent: each layer with its own number of slots."""
    of = model(task, MIXED)
    module = Compiled(of.bind(parameters(of)))
    pairs = batch(sentences(0, LENGTHS), 12, sentences(1, [5, 9, 12]))
    whole_BLV = module(pairs)
    given = pairs.source if task == "translation" else Prompt(pairs.inputs_BL[:, :1], jnp.full((3,), 1))
    state = module.begin(given, 2, 12)
    assert len({rows[0].shape[1] for rows in state.caches}) == 3
    start = 0 if task == "translation" else 1
    _, steps_BWLV = feed(module, state, pairs.inputs_BL, start, 12)
    real_BL1 = pairs.target.segments_BL[..., None] > 0
    for beam in range(2):
        found = jnp.where(real_BL1[:, start:], steps_BWLV[:, beam], 0)
        np.testing.assert_allclose(found, jnp.where(real_BL1, whole_BLV, 0)[:, start:], atol=2e-5)


@pytest.mark.parametrize(("kind", "sight", "beams"), [(*case, 3) for case in EVERY_TYPE] + [("latent", "sinks", 1)])
def test_a_verification_of_several_tokens_equals_steps(kind, sight, beams):
    """After a reorder, over the end of the ring, and going on behind it."""
    of, random = model("language", kind, sight), np.random.default_rng(0)
    module = Compiled(of.bind(parameters(of)))
    prompt = Prompt(jnp.asarray(batch(sentences(0, [3, 3]), 3).inputs_BL), jnp.asarray([3, 1]))
    step, verify = module.step, module.verify
    state = module.begin(prompt, beams, 12)
    tokens_BWL = jnp.asarray(random.integers(4, VOCABULARY, (2, beams, 9)), jnp.int32)
    for t in range(2):
        state, _ = step(state, tokens_BWL[..., t])
    state = reorder(state, jnp.asarray(random.integers(0, beams, (2, beams)), jnp.int32))
    one, logits = state, []
    for t in range(2, 9):
        one, logits_VBW = step(one, tokens_BWL[..., t])
        logits.append(logits_VBW)
    many, logits_VBWC = verify(state, tokens_BWL[..., 2:7])
    np.testing.assert_allclose(logits_VBWC, jnp.stack(logits[:5], axis=-1), atol=2e-5)
    for t in range(7, 9):
        many, logits_VBW = step(many, tokens_BWL[..., t])
        np.testing.assert_allclose(logits_VBW, logits[t - 2], atol=2e-5)


@pytest.mark.parametrize(
    ("task", "kind"),
    [*(("translation", kind) for kind in TYPES if kind != "grouped_2"), ("language", "grouped_1")],
)
def test_weights_laid_out_for_decoding_equal_those_that_train(kind, task):
    """One matrix for each input of the decoder, the same logits; in int8 nearly."""
    of = model(task, kind)
    values = parameters(of)
    pairs = batch(sentences(0, LENGTHS), 12, sentences(1, [5, 9, 12]))
    given = pairs.source if task == "translation" else Prompt(pairs.inputs_BL[:, :1], jnp.full((3,), 1))
    logits = []
    for weight_dtype in ("trained", None, "int8"):
        model_ = of if weight_dtype == "trained" else model(task, kind, weight_dtype=weight_dtype)
        module = Compiled(model_.bind(values if weight_dtype == "trained" else jax.jit(model_.lay_out)(values)))
        assert (module.decoder.blocks[0].attention.inputs.laid is None) == (weight_dtype == "trained")
        logits.append(feed(module, module.begin(given, 1, 8), pairs.inputs_BL, 1, 9)[1])
    np.testing.assert_allclose(logits[1], logits[0], atol=2e-5)
    error = float(jnp.abs(logits[2] - logits[0]).max()) / float(jnp.ptp(logits[0]))
    assert 1e-4 < error < 0.05, error


@pytest.mark.parametrize(("kind", "own"), [("grouped_1", set()), ("latent_ranked", {"wk_CHK", "wv_CHV"})])
def test_int8_holds_every_weight_of_a_linear_map_and_of_the_softmax(kind, own):
    """Of encoder and decoder. What is looked up, added or part of an attention's own products stays as it is."""
    of = model("translation", kind, weight_dtype="int8")
    shapes = jax.eval_shape(of.lay_out, of.shapes())
    leaves = jax.tree.leaves_with_path(shapes, is_leaf=lambda each: isinstance(each, Int8))
    wide = {path[-1].key for path, each in leaves if not isinstance(each, Int8) and each.ndim > 1}
    assert wide == {"tokens_VD", "positions_PD"} | own
    assert isinstance(shapes["embedding"]["laid"], Int8), "the softmax has the table in int8 beside that for look-ups"
    assert all(each.values.dtype == "int8" for _, each in leaves if isinstance(each, Int8))


@pytest.mark.parametrize(("task", "kind", "sight"), IN_INT8)
def test_a_cache_in_int8_loses_little(kind, sight, task):
    """Prompt, steps, beams and ring: near the logits of a cache in float32, and not the same."""
    of, small_ = model(task, kind, sight), model(task, kind, sight, cache_dtype="int8")
    values = parameters(of)
    pairs = batch(sentences(0, [12, 12, 12]), 12, sentences(1, [5, 9, 12]))
    given = pairs.source if task == "translation" else Prompt(pairs.inputs_BL[:, :4], jnp.asarray([4, 3, 1]))
    logits = []
    for each in (of, small_):
        module = Compiled(each.bind(values))
        state = reorder(module.begin(given, 2, 8), jnp.asarray([[1, 0], [0, 0], [1, 1]]))
        logits.append(feed(module, state, pairs.inputs_BL, 4, 12)[1])
    assert {x.dtype.name for x in jax.tree.leaves((state.caches, state.memories))} == {"int8", "float32"}
    error = float(jnp.abs(logits[1] - logits[0]).max()) / float(jnp.ptp(logits[0]))
    assert 1e-4 < error < 0.03, error


@pytest.mark.parametrize("task", ["translation", "language"])
def test_likelihoods_step_by_step_are_those_of_whole_sequences(task):
    of = model(task, "latent", "sinks")
    values = parameters(of)
    pairs = batch(sentences(0, LENGTHS), 12, sentences(1, [5, 9, 12]) if task == "translation" else None)
    whole = score(of, values, pairs)
    nll, tokens = stepwise.score(of, jax.jit(of.lay_out)(values), pairs)
    assert float(nll) == pytest.approx(float(whole.nll), rel=1e-5) and int(tokens) == int(whole.tokens)
