"""From a `ConfigDict` to an `Experiment`: the only module that reads configuration.

A config file starts from `defaults()`, changes what it wants and returns the dict; `read()` checks it and hands out an
`Experiment`. The keys that both have are in `experiment.py`, the others here, beside the equal-parameter rule of the
paper (section 4.1: "we widened the feed-forward layers"), which makes d_ff.
"""

import copy
import dataclasses
import math
import os
import typing
from typing import Annotated, Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from mqa_jax.attention.config import AttentionConfig
from mqa_jax.attention.grouped import Grouped
from mqa_jax.attention.registry import TYPES
from mqa_jax.attention.rotary import Rotary
from mqa_jax.errors import InputError
from mqa_jax.experiment import (
    DataConfig,
    DropoutConfig,
    Experiment,
    ExperimentBase,
    FeedForward,
    Layers,
    ModelBase,
    ModelConfig,
    NotNegative,
    Positive,
    SomeLayers,
    StackConfig,
    TrainConfig,
    block,
    one_of,
)

SITES = ("encoder", "decoder", "cross")
STREAMS = 8  # of a batch's rows, where they can be so many


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings(ModelBase):
    """`config.model`."""

    encoder_layers: Layers = 6  # 0 makes a decoder-only language model
    decoder_layers: SomeLayers = 6
    feed_forward: Positive = 4096  # d_ff of the multi-head baseline; the variants' follow from it
    feed_forward_kind: FeedForward = "relu"


@dataclasses.dataclass(frozen=True)
class Baseline:
    """`config.baseline`: the multi-head attention whose parameters are the budget."""

    heads: Positive = 8
    key_size: Positive = 128
    value_size: Positive = 128


@dataclasses.dataclass(frozen=True)
class AttentionBase:
    """`config.attention`, without the fields of the attention types."""

    type: Annotated[str, one_of(*TYPES)] = "grouped"
    sites: tuple[Annotated[str, one_of(*SITES)], ...] = SITES  # where all this applies; elsewhere it is multi-head
    pattern: tuple[str, ...] = ()  # names of variants: the decoder's layers take their attentions in turn


def _unset(*kinds: type, **blocks: object) -> list[tuple[str, Any, Any]]:
    """The fields of some dataclasses, for `make_dataclass`: a block, or None, which leaves the value to the class."""
    hints = {name: hint for kind in kinds for name, hint in typing.get_type_hints(kind, include_extras=True).items()}
    names = dict.fromkeys(field.name for kind in kinds for field in dataclasses.fields(kind) if field.init)
    return [(name, type(blocks[name]) if name in blocks else hints[name] | None, blocks.get(name)) for name in names]


# Rotary positions where one of their keys is set, by default without.
_ROTARY = dataclasses.make_dataclass("RotarySettings", _unset(Rotary), frozen=True)()
_ATTENTION = dataclasses.make_dataclass(
    "AttentionSettings", _unset(*TYPES.values(), rotary=_ROTARY), bases=(AttentionBase,), frozen=True
)()


# What is set is not the other run's, also where it is a default.
_CONTINUED_DATA = dataclasses.make_dataclass("DataSettings", _unset(DataConfig), frozen=True)()


@dataclasses.dataclass(frozen=True)
class TrainSettings(TrainConfig):
    """`config.train`. Its steps are given as such, or in one of two other ways; the rate once, or for a variant."""

    tokens: NotNegative = 0.0  # places for target tokens: rows x target_length in each step
    share: NotNegative = 0.0  # of the steps of the run that this one starts from
    rates: dict = dataclasses.field(default_factory=dict)  # by variant, in place of learning_rate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Continuation(ExperimentBase):
    """The config of a run that starts from another, whose model it has."""

    variant: str = "source"
    data: DataConfig = _CONTINUED_DATA
    train: TrainSettings = TrainSettings()
    dropout: DropoutConfig = dataclasses.field(default=DropoutConfig())
    variants: dict = dataclasses.field(default_factory=lambda: {"source": {}})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(Continuation):
    """A config."""

    variant: str = "multi_head"
    data: DataConfig = dataclasses.field(default=DataConfig())
    model: ModelSettings = ModelSettings()
    baseline: Baseline = Baseline()
    equal_parameters: bool = True
    attention: AttentionBase = _ATTENTION
    variants: dict = dataclasses.field(default_factory=lambda: {"multi_head": {}, "multi_query": {"write_heads": 1}})


EQUAL = "equal_parameters"  # the one key of a variant that is not of its attention


def defaults() -> ConfigDict:
    """Every key there is, with the value it has where a config file is silent."""
    return ConfigDict(_tree(Settings()))


def continuation() -> ConfigDict:
    """The same without what a run has from the one that it starts from."""
    return ConfigDict(_tree(Continuation()))


def _tree(settings: Any) -> dict[str, Any]:
    tree, hints = {}, typing.get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value is None:
            kind = typing.get_args(hints[field.name])[0]
            value = placeholder(typing.get_origin(kind) or kind)  # knows the type that a flag may give it
        tree[field.name] = _tree(value) if dataclasses.is_dataclass(value) else value
    return tree


def select_variant(config: Any, variant: str) -> Any:
    """A copy of a `ConfigDict` with the attention of that row of its `variants`, whichever it had before."""
    if variant not in config.variants:
        raise InputError(f"variant {variant!r} is not in the config; choose from: {', '.join(config.variants)}")
    chosen = copy.deepcopy(config)  # keeps the placeholders
    place = lambda key: chosen if key == EQUAL else chosen.attention  # noqa: E731
    for key, value in config.variants.get(config.variant, {}).items():
        if place(key).get(key) == value:  # else a flag has changed it since
            place(key)[key] = True if key == EQUAL else _tree(_ATTENTION)[key]
    chosen.variant = variant
    with chosen.unlocked():  # `read` names a key that is unknown
        for key, value in config.variants[variant].items():
            place(key)[key] = value
    return chosen


def read(config: ConfigDict, start: str = "", source: Experiment | None = None) -> Experiment:
    """Checks a config whose variant is already selected and freezes it. One of a run has a model that is built.

    Args:
      start, source: the folder and the experiment (`train.source.of`) of the run that this one starts from. It gives
        the model and the vocabulary, and the text where the config names none.

    Raises:
      InputError: an unknown key, a value that cannot be, or values that do not go together; the message names key,
        value and fix.
    """
    given = config.to_dict()
    if "model" not in given and not source:
        raise InputError("the config has no model; name the run to start from: scripts/train.py --from=RUN")
    if "model" in given and source:
        raise InputError(f"the model is that of --from={start}, and the config has one; use configs/uptrain.py")
    if "decoder" in given.get("model", {}):
        return block(Experiment, given, old=True)
    if source:
        settings = block(Continuation, given)
        data, model = _continued(settings.data, start, source.data), source.model
        model = dataclasses.replace(model, dropout=settings.dropout)
    else:
        settings = block(Settings, given)
        data, model = settings.data, _model(settings)
    train = settings.train
    pieces, streams = data.pieces or model.vocabulary, data.streams or math.gcd(data.rows, STREAMS)
    for key, value, limit, most in (
        ("pieces", pieces, "vocabulary", model.vocabulary),
        ("source_length", data.source_length, "positions", model.positions),
        ("target_length", data.target_length, "positions", model.positions),
    ):
        if value > most:
            raise InputError(f"config.data.{key}={value} is more than config.model.{limit}={most}; lower the first")
    for key, value in (("data.streams", streams), ("train.accumulate", train.accumulate)):
        if data.rows % value:
            raise InputError(f"config.{key}={value} does not divide config.data.rows={data.rows}; choose a divisor")
    shared = {field.name: getattr(settings, field.name) for field in dataclasses.fields(ExperimentBase)}
    shared["data"] = dataclasses.replace(_placed(data), pieces=pieces, streams=streams)
    shared["train"] = _training(train, shared["data"], source, _rate(settings))
    if source:
        shared["variant"] = source.variant
    return Experiment(**shared, model=model, start=start and os.path.abspath(start))


def _continued(data: DataConfig, start: str, source: DataConfig) -> DataConfig:
    """What a run that starts from another trains on: the config's text, or the other's; in the other's tokens."""
    if data.vocabulary_file:
        raise InputError(
            f"config.data.vocabulary_file={data.vocabulary_file}: the vocabulary is that of --from={start}; "
            "leave it out"
        )
    given = {name: value for name, value in dataclasses.asdict(data).items() if value is not None}
    given |= {name: getattr(source, name) for name in ("pieces", "normalization", "vocabulary_file")}
    new = DataConfig(source_length=source.source_length, target_length=source.target_length)
    has_text = data.train or data.kind
    return dataclasses.replace(new if has_text else source, **{"streams": DataConfig.streams} | given)


def _rate(settings: Continuation) -> float:
    """The learning rate of the variant."""
    for name, rate in settings.train.rates.items():
        if name not in settings.variants:
            names = ", ".join(settings.variants)
            raise InputError(f"config.train.rates.{name} is of no variant; choose from: {names}")
        if not isinstance(rate, int | float) or not 0 < rate < math.inf:
            raise InputError(f"config.train.rates.{name}={rate!r} must be a number above 0")
    return settings.train.rates.get(settings.variant, settings.train.learning_rate)


def _training(train: TrainSettings, data: DataConfig, source: Experiment | None, rate: float) -> TrainConfig:
    """With the steps that the tokens or the share make, and a teacher that is found from another folder too."""
    values: dict[str, Any] = {field.name: getattr(train, field.name) for field in dataclasses.fields(TrainConfig)}
    values["learning_rate"] = rate
    if train.tokens and train.share:
        raise InputError(f"config.train.tokens={train.tokens} and share={train.share} both make the steps; give one")
    if not source:
        for key, value, default in (("share", train.share, 0), ("optimizer_state", train.optimizer_state, "reset")):
            if value != default:
                raise InputError(f"config.train.{key}={value} is of another run; name it: scripts/train.py --from=RUN")
    if train.tokens:
        values["steps"] = math.ceil(train.tokens / (data.rows * data.target_length))
    if train.share and source:
        if source.data.kind == "text" and not source.data.train:
            raise InputError(
                f"config.train.share={train.share}: the run to start from was not trained here, so nobody knows its "
                "steps; set config.train.steps or config.train.tokens"
            )
        values["steps"] = max(1, round(train.share * source.train.steps))
    values["teacher"] = train.teacher and os.path.abspath(train.teacher)
    return TrainConfig(**values)


def _placed(data: DataConfig) -> DataConfig:
    """The same with paths that mean the same in another working directory, where a run may be evaluated."""
    folder = data.folder or ("." if data.kind == "text" else "")
    return dataclasses.replace(
        data,
        folder=folder and os.path.abspath(folder),
        vocabulary_file=data.vocabulary_file and os.path.abspath(data.vocabulary_file),
        unk=data.unk and os.path.abspath(data.unk),
    )


def _model(settings: Settings) -> ModelConfig:
    """The model, with feed-forward layers as wide as the equal-parameter rule makes them (paper, section 4.1).

    What the attentions save against the multi-head baseline goes to the feed-forward layers, in equal parts, rounded to
    the nearest column.
    """
    model, hidden, layers = settings.model, settings.model.feed_forward, settings.model.encoder_layers
    crosses = _cycle(settings, "cross") if layers else ()
    decoder = StackConfig(model.decoder_layers, hidden, _cycle(settings, "decoder"), crosses)
    encoder = StackConfig(layers, hidden, _cycle(settings, "encoder")) if layers else None
    shared = {field.name: getattr(model, field.name) for field in dataclasses.fields(ModelBase)}
    made = ModelConfig(
        **shared, decoder=decoder, encoder=encoder, dropout=settings.dropout, feed_forward=model.feed_forward_kind
    )
    if not settings.equal_parameters:
        return made
    full = Grouped.complete(dataclasses.asdict(settings.baseline)).parameters(model.width)
    each = [*decoder.attentions, *decoder.crosses, *(encoder.attentions if encoder else ())]
    saved = sum(full - attention.parameters(model.width) for attention in each)
    hidden += round(saved / (made.feed_forward_parameters(1) * (model.decoder_layers + layers)))
    if hidden < 1:
        raise InputError(
            f"config.attention leaves no parameters for the feed-forward layers (d_ff would be {hidden}); "
            "raise config.model.feed_forward or set config.equal_parameters=False"
        )
    encoder = encoder and dataclasses.replace(encoder, feed_forward=hidden)
    return dataclasses.replace(made, decoder=dataclasses.replace(decoder, feed_forward=hidden), encoder=encoder)


def _cycle(settings: Settings, site: str) -> tuple[AttentionConfig, ...]:
    """The attentions that a site's layers take in turn; one where all are alike."""
    cycle = [_attention(settings, name) for name in settings.attention.pattern or (None,)]
    if site not in settings.attention.sites:
        names = "heads", "key_size", "value_size", "window", "sinks"
        cycle = [Grouped(write_heads=each.heads, **{name: getattr(each, name) for name in names}) for each in cycle]
    if site != "decoder":
        cycle = [each.across() if site == "cross" else each.everywhere() for each in cycle]
    return tuple(cycle[:1] if len(set(cycle)) == 1 else cycle)


def _attention(settings: Settings, variant: str | None) -> AttentionConfig:
    """What `config.attention` describes, with the fields of a variant that the pattern names."""
    given = dataclasses.asdict(settings.attention)
    if variant is not None:
        known = [name for name, fields in settings.variants.items() if "pattern" not in fields]
        if variant not in known:
            raise InputError(f"config.attention.pattern has {variant!r}; choose from: {', '.join(known)}")
        given |= {key: value for key, value in settings.variants[variant].items() if key != EQUAL}
        given = dataclasses.asdict(block(type(settings.attention), given, f"config.variants.{variant}"))
    kind, rotary = TYPES[given["type"]], {key: value for key, value in given["rotary"].items() if value is not None}
    given["rotary"] = Rotary(**rotary) if rotary else None
    own = {key: value for key, value in given.items() if value is not None and not hasattr(AttentionBase, key)}
    return kind.complete(dataclasses.asdict(settings.baseline) | own)
