"""From a `ConfigDict` to frozen dataclasses: the only module that reads configuration.

A config file starts from `defaults()`, changes what it wants and returns the dict; `read()` checks it and
hands out an `Experiment`, which is all that the rest of the project ever sees. The equal-parameter rule of
the paper (section 4.1: "we widened the feed-forward layers") lives here, so that it is a rule and not a table.
"""

import copy
import dataclasses
import math
from typing import Any, TypeVar

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from mqa_jax.attention.config import AttentionConfig
from mqa_jax.attention.grouped import Grouped
from mqa_jax.attention.registry import TYPES
from mqa_jax.attention.rotary import Rotary
from mqa_jax.errors import InputError
from mqa_jax.experiment import (
    DataConfig,
    DecodeConfig,
    DropoutConfig,
    Experiment,
    MeshConfig,
    ModelConfig,
    StackConfig,
    TimingConfig,
    TrainConfig,
)

T = TypeVar("T")
SITES = ("encoder", "decoder", "cross")
STREAMS = 8  # of a batch's rows, where they can be so many


def defaults() -> Any:
    """Every key there is, with the value it has where a config file is silent."""
    return ConfigDict(
        {
            "name": "unnamed",
            "variant": "multi_head",
            "seed": 0,
            "model": {
                "encoder_layers": 6,  # 0 makes a decoder-only language model
                "decoder_layers": 6,
                "width": 1024,
                "feed_forward": 4096,  # of the multi-head baseline; the variants' follow from it
                "vocabulary": 32768,
                "positions": 256,
                "learned_positions": True,  # a table of them is added to the input; rotary attention needs none
                "tied_softmax": True,
                "scaled_embedding": True,  # tokens are multiplied by sqrt(width) on their way in
                "feed_forward_kind": "relu",  # or swiglu
                "norm_eps": 1e-6,
                "dtype": "bfloat16",
                "cache_dtype": placeholder(str),  # of past tokens in decoding; None: as dtype
                "weight_dtype": placeholder(str),  # of weights in decoding: int8, or None: as dtype
            },
            "baseline": {"heads": 8, "key_size": 128, "value_size": 128},
            "equal_parameters": True,
            "attention": {
                "type": "grouped",  # a name of attention/registry.py; each type has fields of its own
                **{name: placeholder(int) for name in _attention_fields()},  # None: as the baseline, or the type's own
                "rotary": dataclasses.asdict(Rotary()) | {"base": placeholder(float)},  # base None: no rotary positions
                "sites": SITES,  # where all this applies; elsewhere attention is multi-head
                "pattern": (),  # names of variants: the decoder's layers take their attentions in turn
            },
            "variants": {"multi_head": {}, "multi_query": {"write_heads": 1}},
            "dropout": {"residual": 0.0, "attention": 0.0, "hidden": 0.0},
            "data": {
                "kind": "text",
                "folder": "",
                "train": (),  # source, target[, source, target ...], each plain or .gz; a .tsv(.gz) holds both
                "dev": (),
                "test": (),
                "columns": (1, 2),  # of a .tsv: source, target
                "weights": (),  # shares of training examples, one for each corpus in train; none: all lines alike
                "length_ratio": 9.0,  # drops pairs with a side this many times as long, in characters; 0: no limit
                "deduplicate": True,  # keeps one of pairs (or lines) that are the same
                "drop_overlap": True,  # drops from train what is in dev or test
                "dataset": "",
                "sentences": 0,
                "pieces": placeholder(int),  # of the SentencePiece model; None: model.vocabulary
                "vocabulary_file": "",
                "source_length": 256,
                "target_length": 256,
                "rows": 128,
                "streams": placeholder(
                    int
                ),  # of a batch's rows, for processes to share out; None: 8, or fewer that divide rows
                "packing": True,
                "positions": "segment",  # "row" is what the paper's packing did
                "seed": 0,
            },
            "train": {
                "steps": 1000,
                "optimizer": "adamw",
                "schedule": "warmup_cosine",
                "learning_rate": 1e-3,
                "warmup": 100,
                "cooldown": 0,
                "weight_decay": 0.0,
                "label_smoothing": 0.0,
                "z_loss": 0.0,
                "clip_norm": 0.0,  # largest global norm of the gradients; 0: as they are
                "accumulate": 1,  # parts of a batch that go through the model one after the other
                "rematerialise": False,  # compute each block's activations again instead of keeping them
                "log_every": 50,
                "evaluate_every": 500,
                "checkpoint_every": 500,
                "keep": 2,  # newest checkpoints, besides the best
                "spike": 2.0,  # nats per token above the running average that end the run; 0: only what is no number
                "skips": 0,  # steps that may be left out for that before the run ends
                "samples": 4,  # sentences of dev to translate at each evaluation
            },
            "mesh": {"data": -1, "fsdp": 1, "tensor": 1},
            "decode": {"beam": 4, "alpha": 0.6, "length_factor": 1.5, "length_extra": 10, "batch": 64},
            "timing": {
                "batch": 128,
                "source_length": 128,
                "target_length": 128,
                "beams": (1, 4),
                "lengths": (),
                "repeats": 5,
            },
        }
    )


def _attention_fields() -> list[str]:
    """The fields of all attention types, each once."""
    names = [name for kind in TYPES.values() for name in _fields(kind) if name != "rotary"]
    return list(dict.fromkeys(names))


def _fields(kind: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.init]


def select_variant(config: Any, variant: str) -> Any:
    """A copy of `config` whose attention is that of the named row of `config.variants`, whichever it had before."""
    if variant not in config.variants:
        known = ", ".join(config.variants)
        raise InputError(f"variant {variant!r} is not in the config; choose from: {known}")
    chosen = copy.deepcopy(config)  # keeps the placeholders, which know the type that a flag may give them
    for key, value in config.variants.get(config.variant, {}).items():
        if chosen.attention.get(key) == value:  # else a flag has changed it since
            chosen.attention[key] = defaults().attention[key]
    chosen.variant = variant
    for key, value in config.variants[variant].items():
        if key not in chosen.attention:
            known = ", ".join(chosen.attention)
            raise InputError(f"config.variants.{variant}.{key} is unknown; an attention has: {known}")
        chosen.attention[key] = value
    return chosen


def read(config: Any) -> Experiment:
    """Checks a config whose variant is already selected and freezes it.

    Raises:
      InputError: an unknown key, a value of the wrong type or an impossible combination; the message names
        the key, the value and the fix.
    """
    _check_keys(config, defaults(), "config")
    section = _Section(config, "model")
    for name, seed in (("seed", config.seed), ("data.seed", config.data.seed)):
        if seed < 0:
            raise InputError(f"config.{name}={seed} must not be negative")
    if section.value("encoder_layers") < 0:
        raise InputError("config.model.encoder_layers must not be negative; 0 makes a language model")
    encoder_layers, layers = section.value("encoder_layers"), section.positive("decoder_layers")
    model = ModelConfig(
        width=section.positive("width"),
        vocabulary=section.positive("vocabulary"),
        positions=section.positive("positions"),
        learned_positions=section.value("learned_positions"),
        tied_softmax=section.value("tied_softmax"),
        scaled_embedding=section.value("scaled_embedding"),
        feed_forward=section.choice("feed_forward_kind", ("relu", "swiglu")),
        norm_eps=section.value("norm_eps"),
        dtype=section.choice("dtype", ("bfloat16", "float32")),
        cache_dtype=section.choice("cache_dtype", (None, "bfloat16", "float32", "int8")),
        weight_dtype=section.choice("weight_dtype", (None, "int8")),
        decoder=StackConfig(layers, 0, _attentions(config, "decoder"), _attentions(config, "cross", encoder_layers)),
        encoder=StackConfig(encoder_layers, 0, _attentions(config, "encoder")) if encoder_layers else None,
        dropout=_section(DropoutConfig, config, "dropout"),
    )
    model = _with_feed_forward(model, config)
    if not model.norm_eps > 0:
        raise InputError(f"config.model.norm_eps={model.norm_eps} must be above 0")
    for name, rate in dataclasses.asdict(model.dropout).items():
        if not 0 <= rate < 1:
            raise InputError(f"config.dropout.{name}={rate} must be at least 0 and below 1")
    return Experiment(
        name=config.name,
        variant=config.variant,
        seed=config.seed,
        model=model,
        data=_read_data(config, model),
        train=_read_train(config),
        mesh=_section(MeshConfig, config, "mesh"),
        decode=_read_decode(config),
        timing=_read_timing(config),
    )


def _attentions(config: Any, site: str, layers: int = 1) -> tuple[AttentionConfig, ...]:
    """The cycle of attentions of a site; empty without layers."""
    sites = tuple(config.attention.sites)
    for each in sites:
        if each not in SITES:
            raise InputError(f"config.attention.sites has {each!r}; choose from: {', '.join(SITES)}")
    names = tuple(config.attention.pattern) or (None,)
    cycle = tuple(_attention(config, name) for name in names) if layers else ()
    if site not in sites:
        cycle = tuple(_multi_head(each) for each in cycle)
    if site != "decoder":
        cycle = tuple(each.across() if site == "cross" else each.everywhere() for each in cycle)
    return cycle[:1] if len(set(cycle)) == 1 else cycle


def _attention(config: Any, variant: str | None) -> AttentionConfig:
    """What `config.attention` describes, with the fields of a variant that the pattern names."""
    given = dict(config.attention.items())
    if variant is not None:
        if variant not in config.variants or "pattern" in config.variants[variant]:
            known = ", ".join(name for name, each in config.variants.items() if "pattern" not in each)
            raise InputError(f"config.attention.pattern has {variant!r}; choose from: {known}")
        given |= dict(config.variants[variant].items())
    kind, rotary = given.pop("type"), dict(given.pop("rotary").items())
    if kind not in TYPES:
        raise InputError(f"config.attention.type={kind!r} is unknown; choose from: {', '.join(TYPES)}")
    given = {name: value for name, value in given.items() if value is not None and name not in ("sites", "pattern")}
    if rotary != {**dataclasses.asdict(Rotary()), "base": None}:
        given["rotary"] = Rotary(**{name: value for name, value in rotary.items() if value is not None})
    return TYPES[kind].complete(_baseline(config) | given)


def _baseline(config: Any) -> dict[str, int]:
    section = _Section(config, "baseline")
    return {name: section.positive(name) for name in ("heads", "key_size", "value_size")}


def _multi_head(like: AttentionConfig) -> AttentionConfig:
    sizes: dict[str, Any] = {
        name: getattr(like, name) for name in ("heads", "key_size", "value_size", "window", "sinks")
    }
    return Grouped(write_heads=like.heads, **sizes)


def _with_feed_forward(model: ModelConfig, config: Any) -> ModelConfig:
    """The model with feed-forward layers as wide as the equal-parameter rule makes them (paper, section 4.1).

    What the attentions save against the multi-head baseline goes to the feed-forward layers, in equal parts, rounded to
    the nearest whole column.
    """
    full = Grouped.complete(_baseline(config)).parameters(model.width)
    stacks = [stack for stack in (model.encoder, model.decoder) if stack]
    hidden = _Section(config, "model").positive("feed_forward")
    if config.equal_parameters:
        attentions = [each for stack in stacks for each in (*stack.attentions, *stack.crosses)]
        saved = sum(full - each.parameters(model.width) for each in attentions)
        hidden += round(saved / (model.feed_forward_parameters(1) * sum(stack.layers for stack in stacks)))
    if hidden < 1:
        raise InputError(
            f"config.attention leaves no parameters for the feed-forward layers (d_ff would be {hidden}); "
            "raise config.model.feed_forward or set config.equal_parameters=False"
        )
    wide = lambda stack: stack and dataclasses.replace(stack, feed_forward=hidden)  # noqa: E731
    return dataclasses.replace(model, encoder=wide(model.encoder), decoder=wide(model.decoder))


def _read_data(config: Any, model: ModelConfig) -> DataConfig:
    section = _Section(config, "data")
    pieces = section.positive("pieces", model.vocabulary)
    if pieces > model.vocabulary:
        raise InputError(
            f"config.data.pieces={pieces} is more than config.model.vocabulary={model.vocabulary}; lower the first"
        )
    for key in ("source_length", "target_length"):
        if section.positive(key) > model.positions:
            raise InputError(
                f"config.data.{key}={section.value(key)} is more than config.model.positions={model.positions}; "
                "raise the second"
            )
    rows = section.positive("rows")
    streams = section.positive("streams", math.gcd(rows, STREAMS))
    if rows % streams:
        raise InputError(f"config.data.streams={streams} does not divide config.data.rows={rows}; choose a divisor")
    columns = tuple(section.value("columns"))
    if len(columns) != 2 or not all(isinstance(column, int) and column > 0 for column in columns):
        raise InputError(f"config.data.columns={columns} must be two column numbers, counted from 1: source,target")
    if section.value("length_ratio") and section.value("length_ratio") < 1:
        raise InputError(f"config.data.length_ratio={section.value('length_ratio')} must be at least 1, or 0 for none")
    if not all(isinstance(weight, (int, float)) and weight > 0 for weight in section.value("weights")):
        raise InputError(f"config.data.weights={tuple(section.value('weights'))} must be numbers above 0")
    section.choice("positions", ("row", "segment"))
    return dataclasses.replace(_section(DataConfig, config, "data"), pieces=pieces, streams=streams)


def _read_train(config: Any) -> TrainConfig:
    section = _Section(config, "train")
    for key in ("steps", "accumulate", "log_every", "evaluate_every", "checkpoint_every", "keep"):
        section.positive(key)
    if section.value("clip_norm") < 0:
        raise InputError(f"config.train.clip_norm={section.value('clip_norm')} must be above 0, or 0 for no clipping")
    rows, parts = config.data.rows, section.value("accumulate")
    if rows % parts:
        raise InputError(f"config.train.accumulate={parts} does not divide config.data.rows={rows}; choose a divisor")
    for key in ("spike", "skips", "samples", "warmup", "cooldown", "weight_decay", "z_loss"):
        section.not_negative(key)
    if not section.value("learning_rate") > 0:
        raise InputError(f"config.train.learning_rate={section.value('learning_rate')} must be above 0")
    section.choice("optimizer", ("adafactor", "adamw"))
    section.choice("schedule", ("paper", "warmup_cosine", "warmup_rsqrt", "constant"))
    if not 0 <= section.value("label_smoothing") < 1:
        raise InputError(
            f"config.train.label_smoothing={section.value('label_smoothing')} must be at least 0 and below 1"
        )
    return _section(TrainConfig, config, "train")


def _read_decode(config: Any) -> DecodeConfig:
    section = _Section(config, "decode")
    section.positive("beam")
    section.positive("batch")
    for key in ("alpha", "length_factor", "length_extra"):
        section.not_negative(key)
    return _section(DecodeConfig, config, "decode")


def _read_timing(config: Any) -> TimingConfig:
    section = _Section(config, "timing")
    for key in ("batch", "source_length", "target_length", "repeats"):
        section.positive(key)
    for key in ("beams", "lengths"):
        if not all(isinstance(each, int) and each > 0 for each in section.value(key)):
            raise InputError(f"config.timing.{key}={tuple(section.value(key))} must be whole numbers above 0")
    return _section(TimingConfig, config, "timing")


class _Section:
    """One block of the config, read with checks that can name the key."""

    def __init__(self, config: Any, name: str):
        self._values, self._name = config[name], name

    def value(self, key: str) -> Any:
        return self._values[key]

    def positive(self, key: str, if_none: int | None = None) -> int:
        value = self._values[key]
        value = if_none if value is None else value
        if not isinstance(value, int) or value < 1:
            raise InputError(f"config.{self._name}.{key}={value} must be a whole number of at least 1")
        return value

    def not_negative(self, key: str) -> None:
        if not self._values[key] >= 0:
            raise InputError(f"config.{self._name}.{key}={self._values[key]} must not be negative; 0 turns it off")

    def choice(self, key: str, choices: tuple[Any, ...]) -> Any:
        value = self._values[key]
        if value not in choices:
            known = ", ".join(map(str, choices))
            raise InputError(f"config.{self._name}.{key}={value!r} is unknown; choose from: {known}")
        return value


def _section(kind: type[T], config: Any, name: str) -> T:
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in config[name].items()}
    return kind(**values)


def _check_keys(config: Any, known: Any, path: str) -> None:
    for key in config:
        if key not in known:
            raise InputError(f"{path}.{key} is an unknown key; {path} has: {', '.join(sorted(known))}")
        if isinstance(known[key], ConfigDict) and key != "variants":
            if not isinstance(config[key], ConfigDict):
                raise InputError(f"{path}.{key}={config[key]!r} must be a block of settings")
            _check_keys(config[key], known[key], f"{path}.{key}")
    for key in known:
        if key not in config:
            raise InputError(f"{path}.{key} is missing; start the config from mqa_jax.config.defaults()")
