"""Bytes and operations of decoding, by arithmetic on the model's shape, and the floor they put under its time.

Counted are the reads that cannot be avoided: each weight once a step, each live row of a cache once (paper,
sections 2.4 and 3.1). What an attention costs is asked of its type. Activations, norms, softmaxes and the embedding's
gathers are left out: they are small.
"""

import dataclasses
from collections.abc import Sequence

from mqa_jax.attention.config import AttentionConfig
from mqa_jax.experiment import ModelConfig, StackConfig
from mqa_jax.timing.peaks import Peaks

BYTES = {"int8": 1, "bfloat16": 2, "float32": 4}


@dataclasses.dataclass(frozen=True)
class Cost:
    """Bytes read and operations done (a multiply-add is two), by part.

    Attributes:
      weight_bytes, weight_flops: products with weights, the softmax's included.
      self_bytes, self_flops: self-attention over its rows.
      cross_bytes, cross_flops: attention over the source's rows.
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
    model: ModelConfig,
    batch: int,
    beam: int,
    source_length: int,
    target_length: int,
    padded_cache: bool,
    tensor: int = 1,
) -> Cost:
    """One decode step of all the batch, averaged over `target_length` steps.

    A padded cache is read in full at every step, a growing one as far as it is filled. The source's rows are
    read once a sentence, not once a beam; so are those of a prompt, which is a language model's source.

    Args:
      tensor: the cost is that of one of so many devices that share the model. Each reads all of a row that they cannot
        share; weights count as shared, all of them.
    """
    decoder, kept, rows = model.decoder, model.kept_dtype, batch * beam
    prompt = 0 if decoder.cross else source_length
    slots = prompt + target_length
    filled = [slots] * target_length if padded_cache else range(prompt + 1, slots + 1)
    weights = _step_weights(model) / tensor
    lengths = {layer: _mean_length(filled, layer) for layer in decoder.attention}
    shared = {layer: _mean_length(filled, layer, prompt) for layer in decoder.attention}
    read = {layer: rows * (lengths[layer] - shared[layer]) + batch * shared[layer] for layer in decoder.attention}
    return Cost(
        weight_bytes=weights * weight_bytes(model),
        weight_flops=2.0 * weights * rows,
        self_bytes=sum(read[layer] * row_bytes(layer, kept, tensor) for layer in decoder.attentions),
        self_flops=sum(rows * lengths[layer] * _flops(layer, True, tensor) for layer in decoder.attentions),
        cross_bytes=float(batch * source_length * sum(row_bytes(each, kept, tensor) for each in decoder.crosses)),
        cross_flops=sum(rows * source_length * _flops(layer, True, tensor) for layer in decoder.crosses),
    )


def encode_cost(model: ModelConfig, batch: int, source_length: int, tensor: int = 1) -> Cost:
    """Reading the source: the encoder and the decoder's rows of it, or a language model's prompt. `tensor`: as in
    `decode_cost`."""
    stack, tokens = model.encoder or model.decoder, batch * source_length
    memories = sum(layer.memory_parameters(model.width) for layer in model.decoder.crosses)
    weights = (_stack_weights(model, stack) + memories) / tensor
    seen = [source_length] * source_length if model.encoder else range(1, source_length + 1)
    lengths = {layer: _mean_length(seen, layer) for layer in stack.attention}
    return Cost(
        weight_bytes=weights * weight_bytes(model),
        weight_flops=2.0 * weights * tokens,
        self_bytes=sum(tokens * row_bytes(layer, model.dtype, tensor) for layer in stack.attentions),
        self_flops=sum(tokens * lengths[layer] * _flops(layer, False, tensor) for layer in stack.attentions),
    )


def train_flops(model: ModelConfig, batch: int, source_length: int, target_length: int) -> float:
    """Operations of one training step: products with weights and attention, forwards, and twice that backwards.

    What a query does not see is not counted, nor is what rematerialisation does a second time.
    """
    decoder, tokens = model.decoder, batch * target_length
    lengths = {layer: _mean_length(range(1, target_length + 1), layer) for layer in decoder.attention}
    attention = sum(lengths[layer] * layer.operations(cached=False) for layer in decoder.attentions)
    attention += sum(source_length * layer.operations(cached=False) for layer in decoder.crosses)
    forward = 2.0 * tokens * (_step_weights(model) + attention)
    if model.encoder:
        forward += encode_cost(model, batch, source_length).flops
    return 3.0 * forward


def cache_bytes_per_sequence(
    model: ModelConfig, source_length: int, target_length: int, beam: int = 1, tensor: int = 1
) -> int:
    """What one sequence keeps while it is decoded: its beams' own rows, or their windows', and once for all beams the
    rows of its source, or of its prompt. One beam has its prompt's rows among its own. `tensor`: on one of so many
    devices that share the model."""
    decoder = model.decoder
    prompt = 0 if decoder.cross else source_length
    shared, own = (prompt, target_length) if prompt and beam > 1 else (0, prompt + target_length)
    kept = sum(source_length * row_bytes(layer, model.kept_dtype, tensor) for layer in decoder.crosses)
    for layer in decoder.attentions:
        slots = beam * layer.slots(own) + (layer.slots(shared) if shared else 0)
        kept += slots * row_bytes(layer, model.kept_dtype, tensor)
    return kept


def row_bytes(layer: AttentionConfig, dtype: str, tensor: int = 1) -> int:
    """Of the rows that one token has in one layer, on each of `tensor` devices."""
    return sum(row.bytes(dtype) // row.devices(tensor) for row in layer.rows())


def weight_bytes(model: ModelConfig) -> int:
    """Of one weight as decoding reads it."""
    return BYTES[model.weight_dtype or model.dtype]


def floor(cost: Cost, peaks: Peaks) -> float:
    """Seconds for `cost` on a device at its peaks: products with weights, then attention, each at its slower limit."""
    products = max(cost.weight_bytes / peaks.bytes_per_s, cost.weight_flops / peaks.weight_flops_per_s)
    cache = max(cost.cache_bytes / peaks.bytes_per_s, cost.cache_flops / peaks.flops_per_s)
    return products + cache


def parameters_by_part(model: ModelConfig) -> dict[str, int]:
    """Parameters of each part and their `total`."""
    D, decoder, encoder = model.width, model.decoder, model.encoder
    attention = lambda layers: sum(layer.parameters(D) for layer in layers)  # noqa: E731
    parts = {
        "token embedding": model.vocabulary * D,
        "softmax": 0 if model.tied_softmax else model.vocabulary * D,
        "positions": model.positions * D if model.learned_positions else 0,
    }
    if encoder:
        parts["encoder attention"] = attention(encoder.attentions)
        parts["encoder feed-forward"] = encoder.layers * model.feed_forward_parameters(encoder.feed_forward)
    parts["decoder self-attention"] = attention(decoder.attentions)
    if decoder.cross:
        parts["decoder cross-attention"] = attention(decoder.crosses)
    parts["decoder feed-forward"] = decoder.layers * model.feed_forward_parameters(decoder.feed_forward)
    norms = decoder.layers * (3 if decoder.cross else 2) + 1
    if encoder:
        norms += encoder.layers * 2 + 1
    parts["norms"] = norms * D
    return parts | {"total": sum(parts.values())}


def _step_weights(model: ModelConfig) -> int:
    """Weights that a decode step multiplies with: the blocks, less the memory's projections, and the softmax."""
    crosses, D = model.decoder.crosses, model.width
    across = sum(layer.parameters(D) - layer.memory_parameters(D) for layer in crosses)
    return _stack_weights(model, model.decoder) + across + model.vocabulary * D


def _stack_weights(model: ModelConfig, stack: StackConfig) -> int:
    """Of a stack's self-attention and feed-forward layers."""
    attention = sum(layer.parameters(model.width) for layer in stack.attentions)
    return attention + stack.layers * model.feed_forward_parameters(stack.feed_forward)


def _mean_length(lengths: Sequence[int], layer: AttentionConfig, first: int | None = None) -> float:
    """Tokens seen on average by queries that have so many behind them, their own included; or of the first alone."""
    return sum(layer.seen(length, first) for length in lengths) / len(lengths)


def _flops(layer: AttentionConfig, cached: bool, tensor: int) -> float:
    """Operations of a query with a token, of those query heads that one of `tensor` devices has."""
    return 2.0 * layer.operations(cached=cached) / (tensor if layer.heads % tensor == 0 else 1)
