"""Token rows, each against a slow twin that looks at one line, one row or one token at a time."""

import collections
import dataclasses
import itertools
import json
import random

import jax
import numpy as np
import pytest
from test_config import get

from mqa_jax import config, progress
from mqa_jax.data import pipeline, vocabulary
from mqa_jax.data.corpus import Split
from mqa_jax.errors import InputError
from mqa_jax.tokens import BOS, EOS, PAD

DATA = dataclasses.replace(config.read(get("toy")).data, source_length=96, target_length=80, rows=4, streams=1)
UNPACKED = dataclasses.replace(DATA, packing=False, rows=1)


def lines(count, seed, longest=14):
    dice = random.Random(seed)
    lexicon = ["".join(dice.choices("abcdeßü", k=dice.randint(1, 6))) for _ in range(60)]
    return [" ".join(dice.choices(lexicon, k=dice.randint(1, longest))) + f" {number}" for number in range(count)]


PAIRS = Split(lines(400, seed=1), lines(400, seed=2))
TEXT = Split((), lines(400, seed=3))
SPLITS = {"translation": PAIRS, "language": TEXT}


def first(split, count):
    return Split(split.source[:count], split.target[:count])


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    everything = [*PAIRS.source, *PAIRS.target, *TEXT.target]
    return vocabulary.train(everything, 320, tmp_path_factory.mktemp("vocabulary") / "v.model")


def sides(batch):
    return [side for side in (batch.source, batch.target) if side is not None]


def segments(batch):
    """The ids of each segment, source and target, row after row."""
    found = []
    for row in range(len(batch.inputs_BL)):
        for segment in range(1, batch.target.segments_BL[row].max() + 1):
            found.append(
                tuple(tuple(side.tokens_BL[row][side.segments_BL[row] == segment].tolist()) for side in sides(batch))
            )
    return found


def encoded(split, words):
    return [tuple((*words.encode(text), EOS) for text in pair) for pair in split.pairs()]


def take(iterator, count):
    """The first `count` segments."""
    stream = (segment for batch in iterator for segment in segments(batch))
    return list(itertools.islice(stream, count))


def same(a, b):
    for x, y in zip([a.inputs_BL, *sum(sides(a), ())], [b.inputs_BL, *sum(sides(b), ())], strict=True):
        np.testing.assert_array_equal(x, y)


def bins_of(split, words):
    return pipeline.packing_bins([pipeline.training_examples(split, words, DATA)], pipeline.limits(split, DATA), 1)


# --- Training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", SPLITS)
def test_an_epoch_is_every_line_once(words, task):
    iterator = pipeline.training_iterator(SPLITS[task], words, UNPACKED, seed=0)
    for _ in range(2):
        assert sorted(take(iterator, 400)) == sorted(encoded(SPLITS[task], words))


@pytest.mark.parametrize("task", SPLITS)
def test_packed_rows_hold_the_same_segments_as_unpacked_ones(words, task):
    """Rows are packed a group at a time, so after each group what was given out is the start of the unpacked order."""
    split, rows = SPLITS[task], dataclasses.replace(DATA, rows=1)
    group = bins_of(split, words)
    packed = pipeline.training_iterator(split, words, rows, seed=0)
    unpacked = pipeline.training_iterator(split, words, UNPACKED, seed=0)
    assert group > 1
    given = 0
    while given < 900:  # into the third epoch
        found = [segment for batch in itertools.islice(packed, group) for segment in segments(batch)]
        assert collections.Counter(found) == collections.Counter(take(unpacked, len(found)))
        given += len(found)


@pytest.mark.parametrize("task", SPLITS)
@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("positions", ["segment", "row"])
def test_inputs_and_positions_follow_from_segments(words, task, packing, positions):
    data = dataclasses.replace(DATA, packing=packing, positions=positions)
    batch = next(pipeline.training_iterator(SPLITS[task], words, data, seed=0))
    assert (batch.target.segments_BL.max() > 1) == packing
    for side in sides(batch):
        assert all(array.dtype == np.int32 and np.asarray(array).flags.c_contiguous for array in side)
        for segments_L, tokens_L, positions_L in zip(side.segments_BL, side.tokens_BL, side.positions_BL, strict=True):
            start = 0
            for column, segment in enumerate(segments_L):
                if column and segment != segments_L[column - 1]:
                    start = column
                if segment:
                    assert positions_L[column] == (column if positions == "row" else column - start)
                else:
                    assert tokens_L[column] == PAD
    for row, (inputs_L, tokens_L) in enumerate(zip(batch.inputs_BL, batch.target.tokens_BL, strict=True)):
        before = None
        for column, segment in enumerate(batch.target.segments_BL[row]):
            expected = PAD if not segment else BOS if segment != before else tokens_L[column - 1]
            assert inputs_L[column] == expected
            before = segment


def test_packing_fills_the_rows(words):
    short = Split((), lines(3000, seed=4))
    shares = []
    for data in (DATA, dataclasses.replace(DATA, packing=False)):
        batches = itertools.islice(pipeline.training_iterator(short, words, data, 0), 100)
        held, places = np.sum([pipeline.filled(batch) for batch in batches], axis=0)
        shares.append(held / places)
    assert shares[0] > 0.95 > 0.6 > shares[1]


def test_a_groups_rows_are_a_tenth_of_an_epoch_at_most(words):
    def bins(count):
        return bins_of(first(PAIRS, count), words)

    tokens = sum(len(target) for _, target in encoded(PAIRS, words))
    assert 1 == bins(1) == bins(20) <= bins(400) <= tokens / 80 / 10 * 1.2
    assert bins(400) <= pipeline.MOST_BINS


def test_epochs_differ_and_seeds_repeat(words):
    def run(seed):
        return take(pipeline.training_iterator(first(PAIRS, 30), words, UNPACKED, seed), 60)

    one = run(0)
    assert one == run(0) != run(1)
    assert one[:30] != one[30:] and sorted(one[:30]) == sorted(one[30:])


@pytest.mark.parametrize("task", SPLITS)
def test_streams_share_each_epoch_without_overlap(words, task):
    """Three streams of one order: each epoch of 31 lines is in them once, whatever their number divides."""
    few, data = first(SPLITS[task], 31), dataclasses.replace(UNPACKED, rows=3, streams=3)
    parts = [take(pipeline.training_iterator(few, words, data, 0, [stream]), 31) for stream in range(3)]
    order = list(itertools.chain(*zip(*parts, strict=True)))
    assert order == take(pipeline.training_iterator(few, words, data, 0), 93)
    assert order == take(pipeline.training_iterator(few, words, UNPACKED, 0), 93), "the order of one stream alone"
    for epoch in range(3):
        assert sorted(order[31 * epoch : 31 * (epoch + 1)]) == sorted(encoded(few, words))


SHARES = [[[0, 1, 2, 3]], [[0, 1], [2, 3]], [[0, 2], [1, 3]], [[0], [1], [2], [3]]]


@pytest.mark.parametrize("packing", [True, False])
def test_batches_do_not_depend_on_who_makes_which_rows(words, packing):
    """Whole batches, then the same put together of what processes make of them; each line is in one process alone."""
    mixed = dataclasses.replace(PAIRS, sizes=(300, 100), weights=(1.0, 3.0))
    for split in (PAIRS, mixed):
        data = dataclasses.replace(DATA, rows=8, streams=4, packing=packing)
        whole = list(itertools.islice(pipeline.training_iterator(split, words, data, seed=0), 12))
        assert len(whole[0].inputs_BL) == 8
        for share in SHARES:
            makers = [pipeline.training_iterator(split, words, data, 0, each) for each in share]
            rows = [pipeline.rows_of_streams(each, data) for each in share]
            assert sorted(itertools.chain(*rows)) == list(range(8))
            for batch in whole:
                for held, maker in zip(rows, makers, strict=True):
                    same(jax.tree.map(lambda x, held=held: x[held], batch), next(maker))
        if split is PAIRS:  # within the first epoch
            found = [segments(jax.tree.map(lambda x, row=row: x[[row]], b)) for b in whole[:3] for row in range(8)]
            assert len(set(itertools.chain(*found))) == sum(map(len, found)) > 20


def test_positions_of_streams_go_on_in_any_number_of_processes(words):
    data = dataclasses.replace(DATA, rows=8, streams=4)
    whole = pipeline.training_iterator(PAIRS, words, data, seed=0)
    halves = [pipeline.training_iterator(PAIRS, words, data, 0, each) for each in ([0, 1], [2, 3])]
    for _ in range(7):
        next(whole), [next(half) for half in halves]
    state = json.loads(json.dumps(whole.get_state()))
    assert state == {name: each for half in halves for name, each in half.get_state().items()}
    expected = list(itertools.islice(whole, 20))
    for share in SHARES:
        for each in share:
            maker = pipeline.training_iterator(PAIRS, words, data, 0, each)
            maker.set_state(state)
            for batch in expected:
                same(jax.tree.map(lambda x, held=pipeline.rows_of_streams(each, data): x[held], batch), next(maker))


def test_more_streams_than_lines_repeat_them(words):
    few, data = first(PAIRS, 2), dataclasses.replace(UNPACKED, rows=4, streams=4)
    assert collections.Counter(take(pipeline.training_iterator(few, words, data, 0), 8)) == dict.fromkeys(
        encoded(few, words), 4
    )


def test_rows_belong_to_streams_in_blocks():
    data = dataclasses.replace(DATA, rows=12, streams=4)
    assert pipeline.rows_of_streams([1, 3], data) == [3, 4, 5, 9, 10, 11]
    assert pipeline.streams_of_rows([5, 6], data) == [1, 2]
    assert pipeline.streams_of_rows(range(12), data) == [0, 1, 2, 3]


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("done", [0, 1, 23])
def test_a_restored_iterator_goes_on_exactly(words, packing, done):
    data = dataclasses.replace(DATA, packing=packing, streams=2)
    whole = pipeline.training_iterator(PAIRS, words, data, seed=0)
    for _ in range(done):
        next(whole)
    state = json.loads(json.dumps(whole.get_state()))
    expected = list(itertools.islice(whole, 40))
    fresh = pipeline.training_iterator(PAIRS, words, data, seed=0)
    used = pipeline.training_iterator(PAIRS, words, data, seed=0)
    next(used)
    for restored in (fresh, used):
        restored.set_state(state)
        for batch in expected:
            same(batch, next(restored))


def test_weights_are_shares_of_the_examples_and_resume_exactly(words):
    mixed = dataclasses.replace(PAIRS, sizes=(300, 100), weights=(1.0, 3.0))
    iterator = pipeline.training_iterator(mixed, words, UNPACKED, seed=0)
    found, small = take(iterator, 800), set(encoded(PAIRS, words)[300:])
    assert sum(pair in small for pair in found) == 600
    assert collections.Counter(pair for pair in found if pair in small) == dict.fromkeys(small, 6)
    assert len({pair for pair in found if pair not in small}) == 200, "an epoch of the larger one is not over"
    state = json.loads(json.dumps(iterator.get_state()))
    fresh = pipeline.training_iterator(mixed, words, UNPACKED, seed=0)
    fresh.set_state(state)
    assert take(iterator, 50) == take(fresh, 50)


def test_long_pairs_are_left_out_of_training_and_said(words, capsys):
    long = "wort " * 100
    split = Split(["kurz", long, "kurz"], ["short", "short", long])
    iterator = pipeline.training_iterator(split, words, UNPACKED, 0)
    assert set(take(iterator, 3)) == set(encoded(first(split, 1), words))
    assert "left out 2 of 3 pairs that are longer than their rows" in capsys.readouterr().err


def test_a_pair_that_just_fits_is_kept(words, capsys):
    source, target = (encoded(first(PAIRS, 1), words))[0]
    exact = dataclasses.replace(UNPACKED, source_length=len(source), target_length=len(target))
    assert take(pipeline.training_iterator(first(PAIRS, 1), words, exact, 0), 1) == [(source, target)]
    for side, length in (("source_length", len(source) - 1), ("target_length", len(target) - 1)):
        with pytest.raises(
            InputError, match=r"config.data.source_length=\d+ and target_length=\d+ are less than every"
        ):
            pipeline.training_iterator(first(PAIRS, 1), words, dataclasses.replace(exact, **{side: length}), 0)


def test_a_language_models_long_lines_are_cut_into_pieces(words):
    data = dataclasses.replace(UNPACKED, target_length=8)
    line = encoded(first(TEXT, 1), words)[0][0]
    pieces = [(line[start : start + 8],) for start in range(0, len(line), 8)]
    assert len(pieces) > 1
    assert sorted(take(pipeline.training_iterator(first(TEXT, 1), words, data, 0), len(pieces))) == sorted(pieces)


@pytest.mark.parametrize("task", SPLITS)
def test_lines_encoded_in_chunks_are_those_encoded_at_once(words, task, monkeypatch, capsys):
    whole = pipeline.training_examples(SPLITS[task], words, DATA)
    monkeypatch.setattr(vocabulary, "CHUNK", 33)
    parts = pipeline.training_examples(SPLITS[task], words, DATA)
    assert len(whole) == len(parts) == 400
    for index in range(400):
        for name, tokens in whole[index].items():
            np.testing.assert_array_equal(tokens, parts[index][name])
    assert "encode  400/400" in capsys.readouterr().err, "what takes long shows its progress"


# --- Scoring ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", SPLITS)
def test_scoring_sees_every_line_once_in_few_shapes(words, task):
    batches = list(pipeline.scoring_batches(first(SPLITS[task], 101), words, DATA, rows=16))
    found = [segment for batch in batches for segment in segments(batch)]
    assert sorted(found) == sorted(encoded(first(SPLITS[task], 101), words))
    assert {batch.inputs_BL.shape for batch in batches} <= {(16, 16), (16, 32), (16, 64), (16, 80)}
    assert len(batches) == 7 and batches[-1].target.segments_BL.any(axis=1).sum() == 5
    for batch in batches:
        assert batch.target.segments_BL.max() == 1
        for side in sides(batch):
            np.testing.assert_array_equal(side.positions_BL[:, 0], 0)
            np.testing.assert_array_equal(np.diff(side.positions_BL), 1)
        np.testing.assert_array_equal(
            batch.inputs_BL, pipeline.shift_right(batch.target.tokens_BL, batch.target.segments_BL, words.bos)
        )


@pytest.mark.parametrize("share", [[range(0, 8), range(8, 16)], [[0, 15], [*range(1, 15)]]])
def test_rows_of_scoring_are_shared_out(words, share):
    split = first(PAIRS, 37)
    whole = pipeline.scoring_batches(split, words, DATA, 16)
    parts = [pipeline.scoring_batches(split, words, DATA, 16, own) for own in share]
    for batch, *each in zip(whole, *parts, strict=True):
        for own, part in zip(share, each, strict=True):
            same(jax.tree.map(lambda x, own=own: x[list(own)], batch), part)


@pytest.mark.parametrize("positions", ["segment", "row"])
@pytest.mark.parametrize("task", SPLITS)
def test_packed_scoring_sees_every_line_once_in_few_rows(words, task, positions):
    data = dataclasses.replace(DATA, packed_scoring=True, positions=positions)
    split = first(SPLITS[task], 101)
    batches = list(pipeline.scoring_batches(split, words, data, rows=4))
    found = [segment for batch in batches for segment in segments(batch)]
    assert sorted(found) == sorted(encoded(split, words))
    assert 1 < len(batches) < 101 / 4 / 3 and {len(batch.target.tokens_BL) for batch in batches} == {4}
    for batch in batches:
        for side in sides(batch):
            jumps = (np.diff(side.positions_BL) != 1) & (side.segments_BL[:, 1:] > 0)
            starts = (np.diff(side.segments_BL) != 0) & (side.segments_BL[:, 1:] > 0)
            np.testing.assert_array_equal(jumps, starts if positions == "segment" else np.zeros_like(starts))
    for own in ([0, 3], [1, 2]):
        for batch, part in zip(batches, pipeline.scoring_batches(split, words, data, 4, own), strict=True):
            same(jax.tree.map(lambda x, own=own: x[own], batch), part)


def test_a_long_translation_is_cut_in_scoring_and_said(words, capsys):
    data = dataclasses.replace(DATA, source_length=20, target_length=12)
    progress.say_once.cache_clear()
    batches = list(pipeline.scoring_batches(PAIRS, words, data, rows=32))
    assert len(list(pipeline.scoring_batches(PAIRS, words, data, rows=32))) == len(batches)
    expected = [(source[:20], target[:12]) for source, target in encoded(PAIRS, words)]
    cut = sum(pair != whole for pair, whole in zip(expected, encoded(PAIRS, words), strict=True))
    assert sorted(segment for batch in batches for segment in segments(batch)) == sorted(expected)
    assert cut and capsys.readouterr().err.count(f"scoring: cut {cut} of 400 pairs") == 1, "an evaluation in training"
    lost = sum(len(target) - len(target[:12]) for _, target in encoded(PAIRS, words))
    assert lost and pipeline.lost_in_scoring(PAIRS, words, data) == (cut, lost)


def test_every_token_of_a_language_models_long_line_counts_once(words):
    data = dataclasses.replace(DATA, target_length=16)
    split = Split((), ["wort " * 50, "kurz", ""])
    batches = list(pipeline.scoring_batches(split, words, data, rows=4))
    found = collections.Counter(
        token for batch in batches for token in batch.target.tokens_BL[batch.target.segments_BL > 0].tolist()
    )
    assert found == collections.Counter(token for (line,) in encoded(split, words) for token in line)
    assert all(batch.source is None and batch.inputs_BL.shape == (4, 16) for batch in batches)
    assert pipeline.lost_in_scoring(split, words, data) == (0, 0)


def test_nothing_to_score_is_no_batch(words):
    for packed in (False, True):
        data = dataclasses.replace(DATA, packed_scoring=packed)
        assert list(pipeline.scoring_batches(Split((), ()), words, data, rows=4)) == []
