"""The columns of all tables: header, field of the records, and how its numbers are printed.

A table names fields. It may give a column another header, or say which records it is of:
`column("tokens_per_s", header="training tokens/s", where={"kind": "train"})`.
"""

import dataclasses
from typing import Any

from mqa_jax.report.cells import decimals, integer, percent, significant, size, times, yes_no
from mqa_jax.report.table import Column

_COLUMNS = (
    # What was measured.
    Column("variant", "variant"),
    Column("split", "split"),
    Column("beam", "beam"),
    Column("batch", "batch"),
    Column("source", "source_length"),
    Column("target", "target_length"),
    Column("type", "dtype"),
    Column("weights", "weight_dtype"),
    Column("cache", "cache_dtype"),
    Column("dropout", "dropout.0", percent),
    Column("rematerialised", "rematerialise", yes_no),
    Column("device", "device"),
    Column("commit", "commit"),
    # The model.
    Column("h", "heads"),
    Column("d_k", "key_size"),
    Column("d_v", "value_size"),
    Column("d_ff", "d_ff"),
    Column("parameters", "parameters", integer),
    Column("decoder self-attention", "decoder"),
    Column("elsewhere", "elsewhere"),
    # Quality.
    Column("BLEU intl", "bleu_intl", decimals(2)),
    Column("BLEU 13a", "bleu_13a", decimals(2)),
    Column("chrF", "chrf", decimals(2)),
    Column("sentences", "sentences"),
    Column("sources cut", "truncated"),
    Column("ln(PPL) per token", "nll_per_token", decimals(4)),
    Column("PPL per token", "perplexity_per_token", decimals(3)),
    Column("PPL per word", "perplexity_per_word", decimals(2)),
    Column("tokens", "tokens"),
    Column("words", "words"),
    Column("tokens cut", "tokens_cut"),
    Column("score", "score", decimals(2)),
    Column("p-value", "p_value"),
    Column("Holm's p", "p_holm"),
    Column("bootstrap mean", "mean", decimals(2)),
    Column("± 95% CI", "ci", decimals(2)),
    Column("seeds", "seeds"),
    Column("sd over seeds", "sd", decimals(4)),
    Column("difference", "difference", decimals(4)),
    Column("95% CI from", "low", decimals(4)),
    Column("to", "high", decimals(4)),
    # Decoding.
    Column("decoder µs/token", "decoder_us_per_token", significant),
    Column("decoder min", "decoder_us_spread.0", significant),
    Column("decoder max", "decoder_us_spread.1", significant),
    Column("speed-up", "speed_up", times),
    Column("floor µs/token", "floor_us_per_token", significant),
    Column("share of floor", "floor_share", percent),
    Column("ms a step", "ms_per_step", significant),
    Column("source µs/token", "encoder_us_per_token", significant),
    Column("source min", "encoder_us_spread.0", significant),
    Column("source max", "encoder_us_spread.1", significant),
    Column("rounds", "repeats"),
    Column("cache a sequence", "cache_bytes_per_sequence", size),
    Column("ms a token, p50", "ms_per_token_p50", significant),
    Column("p99", "ms_per_token_p99", significant),
    Column("ms to the first token", "ms_to_first_token", significant),
    # Training.
    Column("training", "training_us_per_token", significant),
    Column("tokens/s", "tokens_per_s", integer),
    Column("step min", "ms_spread.0", significant),
    Column("step max", "ms_spread.1", significant),
    Column("mfu", "mfu", percent),
    Column("activations MiB", "activations_mb", integer),
    Column("compile s", "compile_s", significant),
    Column("steps", "steps", integer),
    Column("seed", "seed"),
    Column("optimiser", "config.train.optimizer"),
    Column("learning rate", "config.train.learning_rate", lambda value, _: f"{value:g}"),
    Column("dev NLL at the end", "curve.-1.dev_nll_per_token", decimals(4)),
    Column("parameters from", "config.start"),
    Column("teacher", "config.train.teacher"),
    Column("data", "corpus"),
    Column("final training loss, nats per token", "final_loss", decimals(4)),
    Column("final divergence from the teacher, nats per token", "final_divergence", decimals(4)),
    Column("final dev NLL, nats per token", "final_dev_nll", decimals(4)),
    Column("lowest dev NLL of a kept checkpoint", "best.dev_nll_per_token", decimals(4)),
    Column("its step", "best.step", integer),
    Column("seconds of training", "train_s", integer),
    Column("steps refused", "refused_steps", integer),
    # Plans.
    Column("fits", "fits", yes_no),
    Column("training holds", "train.held_bytes_total", size),
    Column("decoding holds", "decode.held_bytes_total", size),
    Column("cache among it", "decode.held_bytes.cache", size),
    Column("training: floor", "train.floor_us_per_token", significant),
    Column("training: hours at the floor", "training_hours", significant),
    Column("encoder: floor", "decode.encoder_floor_us_per_token", significant),
    Column("decoder: floor", "decode.floor_us_per_token", significant),
    # How many sequences fit.
    Column("cache", "cache"),
    Column("a sequence keeps", "bytes_per_sequence", lambda value, _: size(value)),
    Column("weights", "weight_bytes_per_device", size),
    Column("sequences at most", "at_most.sequences", integer),
    Column("tokens/s", "at_most.tokens_per_s", integer),
    Column("ms a token", "at_most.ms_per_token", significant),
    Column("limit", "at_most.limit"),
    Column("sequences in", "within_latency.sequences", integer),
    Column("tokens/s in", "within_latency.tokens_per_s", integer),
    Column("limit in", "within_latency.limit"),
)
_BY_FIELD = {column.field: column for column in _COLUMNS}


def column(field: str, **changes: Any) -> Column:
    """The column of a field, changed where a table needs it otherwise."""
    return dataclasses.replace(_BY_FIELD[field], **changes)


def columns(fields: str) -> list[Column]:
    """The columns of fields with spaces between them."""
    return [_BY_FIELD[field] for field in fields.split()]
