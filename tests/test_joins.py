"""Sentences that join a batch under way take a row of its caches and are decoded as if alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import VOCABULARY, Compiled, batch, model, parameters, rows, sentences
from steps import IN_BOTH_TASKS, MIXED_TOO, feed

from mqa_jax.attention.cache import admit, reorder
from mqa_jax.batch import Prompt


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
