"""Bytes and operations of decoding, by arithmetic on the model's shape, and the floor they put under its time.

Counted are the reads that cannot be avoided: each weight once a step, each live key and value once (paper,
sections 2.4 and 3.1). Activations, norms, softmaxes and the embedding's gathers are left out: they are small.
"""

import dataclasses
from collections.abc import Sequence

from mqa_jax.experiment import AttentionConfig, ModelConfig, StackConfig
from mqa_jax.timing.peaks import Peaks

BYTES = {"bfloat16": 2, "float32": 4}


@dataclasses.dataclass(frozen=True)
class Cost:
    """Bytes read and operations done (a multiply-add is two), by part.

    Attributes:
      weight_bytes, weight_flops: products with weights, the softmax's included.
      self_bytes, self_flops: self-attention over its keys and values.
      cross_bytes, cross_flops: attention over the source's keys and values.
    """

    weight_bytes: float
    weight_flops: float
    self_bytes: float
    self_flops: float
    cross_bytes: float = 0.0
    cross_flops: float = 0.0

    @property
    def cache_bytes(self) -> float:
        return self.self_bytes + self.cross_bytes

    @property
    def cache_flops(self) -> float:
        return self.self_flops + self.cross_flops

    @property
    def bytes(self) -> float:
        return self.weight_bytes + self.cache_bytes

    @property
    def flops(self) -> float:
        return self.weight_flops + self.cache_flops


def decode_cost(
    model: ModelConfig, batch: int, beam: int, source_length: int, target_length: int, padded_cache: bool
) -> Cost:
    """One decode step of the whole batch, averaged over `target_length` steps.

    A padded cache is read in full at every step, a growing one as far as it is filled. The source's keys and
    values are read once a sentence, not once a beam. A language model's source is its prompt.
    """
    decoder, size = model.decoder, BYTES[model.dtype]
    rows = batch * beam
    prompt = 0 if decoder.cross else source_length
    slots = prompt + target_length
    filled = [slots] * target_length if padded_cache else range(prompt + 1, slots + 1)
    length = _mean_length(filled, decoder.attention)
    weights = _step_weights(model)
    cost = Cost(
        weight_bytes=weights * size,
        weight_flops=2.0 * weights * rows,
        self_bytes=decoder.layers * rows * length * _token_width(decoder.attention) * size,
        self_flops=decoder.layers * rows * length * 2 * _query_width(decoder.attention),
    )
    if not decoder.cross:
        return cost
    return dataclasses.replace(
        cost,
        cross_bytes=decoder.layers * batch * source_length * _token_width(decoder.cross) * size,
        cross_flops=decoder.layers * rows * source_length * 2.0 * _query_width(decoder.cross),
    )


def encode_cost(model: ModelConfig, batch: int, source_length: int) -> Cost:
    """Reading the source: the encoder and the decoder's keys and values of it, or a language model's prompt."""
    stack, tokens, size = model.encoder or model.decoder, batch * source_length, BYTES[model.dtype]
    weights = stack.layers * _block_weights(model.width, stack)
    if model.decoder.cross:
        weights += model.decoder.layers * model.width * _token_width(model.decoder.cross)
    seen = [source_length] * source_length if model.encoder else range(1, source_length + 1)
    return Cost(
        weight_bytes=weights * size,
        weight_flops=2.0 * weights * tokens,
        self_bytes=stack.layers * tokens * _token_width(stack.attention) * size,
        self_flops=stack.layers * tokens * _mean_length(seen, stack.attention) * 2 * _query_width(stack.attention),
    )


def train_flops(model: ModelConfig, batch: int, source_length: int, target_length: int) -> float:
    """Operations of one training step: products with weights and attention, forwards, and twice that backwards.

    What a query does not see is not counted, nor is what rematerialisation does a second time.
    """
    forward = target_length * decode_cost(model, batch, 1, source_length, target_length, False).flops
    if model.encoder:
        forward += encode_cost(model, batch, source_length).flops
    return 3.0 * forward


def cache_bytes_per_sequence(model: ModelConfig, source_length: int, target_length: int) -> int:
    """Keys and values that one sequence keeps while it is decoded: its own, or its window's, and the source's."""
    decoder = model.decoder
    own = target_length if decoder.cross else source_length + target_length
    width = min(own, decoder.attention.window or own) * _token_width(decoder.attention)
    if decoder.cross:
        width += source_length * _token_width(decoder.cross)
    return decoder.layers * width * BYTES[model.dtype]


def floor(cost: Cost, peaks: Peaks) -> float:
    """Seconds for `cost` on a device at its peaks: products with weights, then attention, each at its slower limit."""
    products = max(cost.weight_bytes / peaks.bytes_per_s, cost.weight_flops / peaks.flops_per_s)
    cache = max(cost.cache_bytes / peaks.bytes_per_s, cost.cache_flops / peaks.flops_per_s)
    return products + cache


def parameters_by_part(model: ModelConfig) -> dict[str, int]:
    """Parameters of each part and their `total`."""
    D, decoder, encoder = model.width, model.decoder, model.encoder
    parts = {
        "token embedding": model.vocabulary * D,
        "softmax": 0 if model.tied_softmax else model.vocabulary * D,
        "positions": model.positions * D,
    }
    if encoder:
        parts["encoder attention"] = encoder.layers * encoder.attention.parameters(D)
        parts["encoder feed-forward"] = encoder.layers * 2 * D * encoder.feed_forward
    parts["decoder self-attention"] = decoder.layers * decoder.attention.parameters(D)
    if decoder.cross:
        parts["decoder cross-attention"] = decoder.layers * decoder.cross.parameters(D)
    parts["decoder feed-forward"] = decoder.layers * 2 * D * decoder.feed_forward
    norms = decoder.layers * (3 if decoder.cross else 2) + 1
    if encoder:
        norms += encoder.layers * 2 + 1
    parts["norms"] = norms * D
    return parts | {"total": sum(parts.values())}


def _step_weights(model: ModelConfig) -> int:
    """Weights that a decode step multiplies with: the blocks, less the memory's projections, and the softmax."""
    decoder = model.decoder
    weights = decoder.layers * _block_weights(model.width, decoder) + model.vocabulary * model.width
    if decoder.cross:
        per_layer = decoder.cross.parameters(model.width) - model.width * _token_width(decoder.cross)
        weights += decoder.layers * per_layer
    return weights


def _block_weights(width: int, stack: StackConfig) -> int:
    return stack.attention.parameters(width) + 2 * width * stack.feed_forward


def _mean_length(lengths: Sequence[int], attention: AttentionConfig) -> float:
    """Tokens seen on average by queries that have so many behind them, their own included; a window limits each."""
    return sum(min(length, attention.window or length) for length in lengths) / len(lengths)


def _token_width(attention: AttentionConfig) -> int:
    """Numbers that a cache keeps for one token of one layer."""
    return attention.write_heads * (attention.key_size + attention.value_size)


def _query_width(attention: AttentionConfig) -> int:
    """Multiply-adds of one query with one token of one layer."""
    return attention.heads * (attention.key_size + attention.value_size)
