"""Search over a step function: greedy, beam and sampling against exhaustive and plain twins."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from small import BOS, HEADS, WRITE_HEADS, Compiled, attention, batch, find, model, parameters, sentences

from mqa_jax import sharding
from mqa_jax.attention.cache import reorder
from mqa_jax.batch import Prompt
from mqa_jax.decode.search import LEAST, Beam, Greedy, Sample, run, sample
from mqa_jax.experiment import MeshConfig
from mqa_jax.kernels import largest

EOS = 1


def table_step(table_tVV):
    """A toy model: log-probabilities depend on the time and the last token. The state is the time."""

    def step(t, tokens_BW):
        return t + 1, jnp.moveaxis(table_tVV[t][tokens_BW], -1, 0)

    return step


def keep(t, parents_BW):
    return t


def random_table(seed, length, vocabulary):
    return jax.nn.log_softmax(3 * jax.random.normal(jax.random.key(seed), (length, vocabulary, vocabulary)), axis=-1)


def best_by_exhaustion(table_tVV, first, length, alpha):
    """The best score of all ended outputs of at most `length` tokens, and the output."""
    return max(ended_outputs(table_tVV, first, length, alpha), key=lambda pair: pair[0])


def ended_outputs(table_tVV, first, length, alpha):
    """All ended outputs of at most `length` tokens, each behind its score."""
    table = np.asarray(table_tVV, np.float64)
    V, found = table.shape[-1], []
    for size in range(1, length + 1):
        for body in itertools.product([v for v in range(V) if v != EOS], repeat=size - 1):
            output, last, total = [*body, EOS], first, 0.0
            for t, token in enumerate(output):
                total, last = total + table[t, last, token], token
            found.append((total / ((5 + size) / 6) ** alpha, output))
    return found


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_wide_beam_equals_exhaustive_search(seed, alpha):
    V, T = 4, 4
    table = random_table(seed, T, V)
    search = Beam(T, EOS, V**T, alpha, keep)
    found = find(search, table_step(table), jnp.zeros((), jnp.int32), jnp.asarray([2, 3]), jnp.asarray([T, T]))
    for row, first in enumerate([2, 3]):
        score, output = best_by_exhaustion(table, first, T, alpha)
        assert float(found.scores_B[row]) == pytest.approx(score, abs=1e-4)
        assert found.tokens_BT[row, : len(output)].tolist() == output
        assert not found.tokens_BT[row, len(output) :].any()


def test_all_outputs_are_the_ended_ones_best_first():
    V, T = 4, 3
    table = random_table(7, T, V)
    search = Beam(T, EOS, V**T, 0.6, keep)
    rows = search.begin(jnp.asarray([2]), jnp.asarray([T]), jnp.zeros((1,), jnp.uint32))
    stop = lambda rows: rows.t_B[0] >= T  # noqa: E731  later than needed for the best alone
    rows, _ = run(search, table_step(table), rows, jnp.zeros((), jnp.int32), stop)
    tokens_WT, scores_W = (np.asarray(each)[0] for each in search.outputs(rows))
    wanted = sorted(ended_outputs(table, 2, T, 0.6), key=lambda pair: -pair[0])
    assert (scores_W > LEAST).sum() == len(wanted) < len(scores_W)
    for (score, output), tokens_T, own in zip(wanted, tokens_WT, scores_W, strict=False):
        assert own == pytest.approx(score, abs=1e-4)
        assert tokens_T.tolist() == output + [0] * (T - len(output))


def test_beam_stops_when_no_live_beam_can_win():
    V, T = 5, 50
    table = jnp.log(jnp.full((T, V, V), 0.01).at[:, :, EOS].set(0.96))
    arguments = table_step(table), jnp.zeros((), jnp.int32), jnp.asarray([2]), jnp.asarray([T])
    stopped = find(Beam(T, EOS, 3, 0.6, keep), *arguments)
    assert int(stopped.steps) <= 3 and stopped.tokens_BT[0, 0] == EOS
    assert int(find(Beam(T, -1, 3, 0.6, keep), *arguments).steps) == T


def test_an_output_may_end_that_is_not_among_the_best_beams():
    """Any of the 2W candidates, as in T2T. The two that are likelier at first turn out worse."""
    table = jnp.full((2, 5, 5), 0.1).at[0, :, EOS].set(0.2).at[0, :, 3:].set(0.3)
    search = Beam(2, EOS, 2, 0.0, keep)
    found = find(search, table_step(jnp.log(table)), jnp.zeros((), jnp.int32), jnp.asarray([2]), jnp.asarray([2]))
    assert found.tokens_BT[0].tolist() == [EOS, 0]
    assert float(found.scores_B[0]) == pytest.approx(np.log(0.2), abs=1e-5)


def test_beam_goes_on_while_a_live_beam_could_win_at_its_limit():
    """0.5 ends at once, 0.49 goes on for 14 tokens that are all but sure: a longer output's penalty is larger."""
    V, T = 5, 14
    table = jnp.full((T, V, V), 1e-6).at[0, :, EOS].set(0.5).at[0, :, 3].set(0.49)
    table = jnp.log(table.at[1:-1, :, 3].set(1.0).at[-1, :, EOS].set(1.0))
    search = Beam(T, EOS, 2, 1.0, keep)
    found = find(search, table_step(table), jnp.zeros((), jnp.int32), jnp.asarray([2]), jnp.asarray([T]))
    assert found.tokens_BT[0].tolist() == [3] * (T - 1) + [EOS] and int(found.steps) == T
    assert float(found.scores_B[0]) == pytest.approx(np.log(0.49 / 0.99) / (19 / 6), abs=1e-3)
    assert float(found.scores_B[0]) > np.log(0.5 / 0.99), "that of the output that ends at once"


def test_beam_returns_the_best_live_output_if_none_ended():
    table = jax.nn.log_softmax(random_table(0, 6, 5).at[:, :, EOS].set(-1e12), axis=-1)
    search = Beam(6, EOS, 5**3, 0.0, keep)
    found = find(search, table_step(table), jnp.zeros((), jnp.int32), jnp.asarray([2, 2]), jnp.asarray([3, 6]))
    log = np.asarray(table, np.float64)
    scores = log[0, 2][:, None, None] + log[1][:, :, None] + log[2][None]
    best = np.unravel_index(scores.argmax(), scores.shape)
    assert found.tokens_BT[0].tolist() == [*best, 0, 0, 0]
    assert (found.tokens_BT[1] != 0).sum() >= 4


@pytest.mark.parametrize("task", ["translation", "language"])
@pytest.mark.parametrize("G", WRITE_HEADS)
def test_greedy_equals_the_plain_loop_and_beam_of_one(G, task):
    of, T = model(task, G), 10
    module = Compiled(of.bind(parameters(of, seed=3)))
    sources = sentences(1, [5, 8])
    pairs = batch(sentences(0, [3, 3]), 8, sources)
    first_B, limits_B = jnp.full((2,), BOS), jnp.asarray([T, 6])
    if task == "translation":
        begin = lambda: module.begin(pairs.source, 1, T)  # noqa: E731
    else:
        begin = lambda: module.begin(Prompt(jnp.zeros((2, 1), jnp.int32), jnp.zeros((2,), jnp.int32)), 1, T)  # noqa: E731
    greedy = jax.jit(lambda: find(Greedy(T, EOS), module.step, begin(), first_B, limits_B))()
    beam = jax.jit(lambda: find(Beam(T, EOS, 1, 0.0, reorder), module.step, begin(), first_B, limits_B))()

    outputs = [[] for _ in range(2)]
    for row in range(2):
        while len(outputs[row]) < limits_B[row] and EOS not in outputs[row]:
            so_far = [outputs[row] + [4], [4]] if row == 0 else [[4], outputs[row] + [4]]
            whole = module(batch(so_far, T, sources))
            outputs[row].append(int(whole[row, len(outputs[row])].argmax()))
    for row, output in enumerate(outputs):
        assert greedy.tokens_BT[row].tolist() == output + [0] * (T - len(output))
        assert beam.tokens_BT[row].tolist() == output + [0] * (T - len(output))


@pytest.mark.parametrize("G", WRITE_HEADS)
def test_wide_beam_on_a_model_equals_scoring_every_output(G):
    """Cached, reordered beams of a real model against the whole forward over all outputs of 3 tokens."""
    V, T = 4, 3
    of = model("translation", G, vocabulary=V)
    module = Compiled(of.bind(parameters(of, seed=1)))
    source = [[2, 3, 3, EOS]]
    state = module.begin(batch([[3]], 4, source).source, V**T, T)
    search = Beam(T, EOS, V**T, 0.6, reorder)
    found = jax.jit(lambda s: find(search, module.step, s, jnp.asarray([2]), jnp.asarray([T])))(state)
    bodies = [body for size in range(T) for body in itertools.product([0, 2, 3], repeat=size)]
    outputs = [[*body, EOS] for body in bodies]
    pairs = batch(outputs, 4, source * len(outputs))
    logp_BLV = jax.nn.log_softmax(module(pairs), axis=-1)
    token_logp_BL = jnp.take_along_axis(logp_BLV, pairs.target.tokens_BL[..., None], axis=-1)[..., 0]
    totals = np.asarray(jnp.where(pairs.target.segments_BL > 0, token_logp_BL, 0).sum(1))
    scores = [total / ((5 + len(output)) / 6) ** 0.6 for total, output in zip(totals, outputs, strict=True)]
    best = int(np.argmax(scores))
    assert float(found.scores_B[0]) == pytest.approx(scores[best], abs=1e-4)
    assert found.tokens_BT[0].tolist() == outputs[best] + [0] * (T - len(outputs[best]))


@pytest.mark.parametrize(("kind", "sight"), [(1, "sinks"), (2, "global"), (HEADS, "local"), ("latent", "sinks")])
def test_wide_beam_over_a_shared_prompt_equals_scoring_every_continuation(kind, sight):
    """Prompts of none, one and six tokens, more than a window, in one batch, against the whole forward."""
    V, T, P = 4, 3, 6
    of = model("language", kind, sight, vocabulary=V)
    module = Compiled(of.bind(parameters(of, seed=1)))
    texts = [[BOS, *text] for text in ([], [3], [1, 3, 3, 0, 1, 3])]  # the last token of each is fed first
    prompt_BP = np.zeros((3, P), np.int32)
    for row, text in enumerate(texts):
        prompt_BP[row, P - len(text) + 1 :] = text[:-1]
    prompt = Prompt(jnp.asarray(prompt_BP), jnp.asarray([len(text) - 1 for text in texts]))
    search = Beam(T, -1, V ** (T - 1), 0.0, reorder)
    state = module.begin(prompt, search.beams, T)
    assert state.prompts[0][0].shape[1] == attention(kind, sight).slots(8)  # what six are filled up to
    first_B, limits_B = jnp.asarray([text[-1] for text in texts]), jnp.full((3,), T)
    found = jax.jit(lambda state: find(search, module.step, state, first_B, limits_B))(state)
    outputs = list(itertools.product(range(V), repeat=T))
    for row, text in enumerate(texts):
        pairs = batch([[*text[1:], *output] for output in outputs], P + T)
        logp_BLV = jax.nn.log_softmax(module(pairs), axis=-1)
        token_logp_BL = jnp.take_along_axis(logp_BLV, pairs.target.tokens_BL[..., None], axis=-1)[..., 0]
        totals_B = token_logp_BL[:, len(text) - 1 : len(text) - 1 + T].sum(1)
        best = int(totals_B.argmax())
        assert float(found.scores_B[row]) == pytest.approx(float(totals_B[best]), abs=1e-4)
        assert found.tokens_BT[row].tolist() == list(outputs[best])


def test_filling_rows_cost_no_steps():
    table = random_table(0, 6, 5).at[:, :, EOS].set(-1e6)
    for search in (Greedy(6, EOS), Beam(6, EOS, 2, 0.6, keep)):
        limits_B = jnp.asarray([2, 0])
        found = find(search, table_step(table), jnp.zeros((), jnp.int32), jnp.asarray([2, 2]), limits_B)
        assert int(found.steps) == 2 and not found.tokens_BT[1].any()


@pytest.mark.parametrize("search", [Greedy(4, EOS), Beam(4, EOS, 2, 0.6, lambda t, parents: t)])
def test_a_row_that_outgrows_the_search_halts_without_being_over(search):
    table = random_table(0, 9, 5).at[:, :, EOS].set(-1e6)
    rows = search.begin(jnp.asarray([2, 2, 2]), jnp.asarray([3, 4, 9]), jnp.zeros((3,), jnp.uint32))
    state = jnp.zeros((), jnp.int32)
    for _ in range(6):
        rows, state = search.advance(table_step(table), rows, state)
    assert search.over(rows).tolist() == [True, True, False] and search.halted(rows).all()
    assert rows.t_B.tolist() == [3, 4, 4]


def test_sampling_follows_the_distribution_and_its_limits():
    logits = jnp.log(jnp.asarray([0.5, 0.3, 0.15, 0.05]))

    def shares(temperature, top_k, top_p):
        keys = jax.random.split(jax.random.key(0), 4000)
        tokens = jax.vmap(lambda key: sample(logits, key, temperature, top_k, top_p))(keys)
        return np.bincount(np.asarray(tokens), minlength=4) / 4000

    np.testing.assert_allclose(shares(1.0, 0, 1.0), [0.5, 0.3, 0.15, 0.05], atol=0.03)
    np.testing.assert_array_equal(shares(1.0, 9, 1.0), shares(1.0, 0, 1.0))  # more than there are
    np.testing.assert_allclose(shares(1.0, 2, 1.0), [0.625, 0.375, 0, 0], atol=0.03)
    np.testing.assert_allclose(shares(1.0, 0, 0.7), [0.625, 0.375, 0, 0], atol=0.03)
    squared = np.square([0.5, 0.3, 0.15, 0.05])
    np.testing.assert_allclose(shares(0.5, 0, 1.0), squared / squared.sum(), atol=0.03)


def test_sampled_outputs_end_and_repeat_by_key():
    table = random_table(1, 12, 5)

    def run(seed, first=2):
        seeds_B = jnp.arange(64, dtype=jnp.uint32) + 64 * seed
        limits_B, state = jnp.full((64,), 12), jnp.zeros((), jnp.int32)
        return find(Sample(12, EOS), table_step(table), state, jnp.full((64,), first), limits_B, seeds_B)

    one = np.asarray(run(0).tokens_BT)
    np.testing.assert_array_equal(one, run(0).tokens_BT)
    assert (one != np.asarray(run(1).tokens_BT)).any()
    for row in one:
        ends = np.flatnonzero(row == EOS)
        assert len(ends) <= 1 and (len(ends) == 0 or not row[ends[0] + 1 :].any())


def test_a_draw_depends_on_the_rows_seed_and_on_the_time():
    """Of a uniform table all rows draw different outputs, and no row draws one token again and again."""
    V, T, B = 8, 12, 16
    step, state = table_step(jnp.zeros((T, V, V))), jnp.zeros((), jnp.int32)
    first_B, limits_B, seeds_B = jnp.full((B,), 2), jnp.full((B,), T), jnp.arange(B, dtype=jnp.uint32)
    tokens_BT = np.asarray(find(Sample(T, -1), step, state, first_B, limits_B, seeds_B).tokens_BT)
    assert len({tuple(row) for row in tokens_BT.tolist()}) == B
    assert all(len(set(row)) > 3 for row in tokens_BT.tolist())


@pytest.mark.parametrize("limit", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}])
def test_sampling_within_the_narrowest_limit_is_greedy(limit):
    step, state = table_step(random_table(1, 12, 5)), jnp.zeros((), jnp.int32)
    first_B, limits_B, seeds_B = jnp.full((64,), 2), jnp.full((64,), 12), jnp.arange(64, dtype=jnp.uint32)

    def run(search):
        return np.asarray(find(search, step, state, first_B, limits_B, seeds_B).tokens_BT)

    greedy_BT = run(Greedy(12, EOS))
    np.testing.assert_array_equal(run(Sample(12, EOS, **limit)), greedy_BT)
    assert (run(Sample(12, EOS)) != greedy_BT).any()


@pytest.mark.parametrize("size", [7, 512, 1000, 8192])
@pytest.mark.parametrize("k", [1, 2, 8])
def test_blockwise_top_k_equals_the_plain_one(size, k):
    smooth_VBW = jax.random.normal(jax.random.key(size), (size, 3, 2))
    for scores_VBW in (smooth_VBW, jnp.round(smooth_VBW)):  # rounded: many equal scores
        best, beam, token = largest.top_k(scores_VBW, k)
        flat_BC = jnp.transpose(scores_VBW, (1, 2, 0)).reshape(3, -1)
        plain, _ = jax.lax.top_k(flat_BC, k)
        np.testing.assert_array_equal(best, plain)
        np.testing.assert_array_equal(scores_VBW[token, jnp.arange(3)[:, None], beam], plain)
        pairs = np.stack([beam, token], axis=-1).reshape(3, k, 2)
        assert all(len({tuple(pair) for pair in row}) == k for row in pairs.tolist())
        np.testing.assert_array_equal(largest.argmax(scores_VBW[..., 0]), scores_VBW[..., 0].argmax(0))


@pytest.mark.parametrize("size", [16, 1024, 1000])
def test_devices_that_share_a_vocabulary_choose_as_one_does(size):
    """Of equal scores too."""
    mesh = sharding.groups(MeshConfig(tensor=8), jax.devices())[0]
    scores_VBW = jnp.round(jax.random.normal(jax.random.key(size), (size, 3, 2)))

    @functools.partial(jax.jit, static_argnums=1)
    def choose(scores_VBW, mesh):
        return *largest.top_k(scores_VBW, 8, mesh), largest.argmax(scores_VBW[..., 0], mesh)

    shared_VBW = jax.device_put(scores_VBW, NamedSharding(mesh, PartitionSpec("tensor")))
    for alone, shared in zip(choose(scores_VBW, None), choose(shared_VBW, mesh), strict=True):
        np.testing.assert_array_equal(shared, alone)


def test_candidates_are_no_more_than_there_are():
    best, beam, token = largest.top_k(jnp.asarray([[[1.0, 4.0]], [[3.0, 2.0]]]), 8)
    assert best.tolist() == [[4, 3, 2, 1]] and beam.tolist() == [[1, 0, 1, 0]] and token.tolist() == [[0, 1, 1, 0]]
