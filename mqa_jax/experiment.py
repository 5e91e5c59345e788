"""What defines one run: every key of a config, once, with its default and what its value must be.

Everything below the scripts is given an `Experiment` and no more. The keys that only a config file has, such as how
many layers there are, are in `config.py`.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

from mqa_jax.attention.config import AttentionConfig
from mqa_jax.attention.registry import TYPES
from mqa_jax.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


class Must(NamedTuple):
    """What a value must be: in words, and as a test of a value that has the right type."""

    be: str
    holds: Callable[[Any], bool]


def one_of(*choices: str) -> Must:
    """One of some names."""
    return Must(f"one of {', '.join(choices)}", choices.__contains__)


MOST = 2**31  # what integers are below: devices count in 32 bits
MOST_BEAMS = 128  # the cache names the beam that wrote a token in one byte
MOST_LAYERS = 1000

Positive = Annotated[int, Must("an integer of at least 1 and below 2**31", lambda value: value >= 1)]
Count = Annotated[int, Must("an integer of at least 0 and below 2**31", lambda value: value >= 0)]
Beams = Annotated[int, Must(f"an integer from 1 to {MOST_BEAMS}", lambda value: 1 <= value <= MOST_BEAMS)]
Layers = Annotated[int, Must(f"an integer from 0 to {MOST_LAYERS}", lambda value: 0 <= value <= MOST_LAYERS)]
SomeLayers = Annotated[int, Must(f"an integer from 1 to {MOST_LAYERS}", lambda value: 1 <= value <= MOST_LAYERS)]
Above0 = Annotated[float, Must("a finite number above 0", lambda value: value > 0)]
NotNegative = Annotated[float, Must("a finite number of at least 0", lambda value: value >= 0)]
Rate = Annotated[float, Must("a number of at least 0 and below 1", lambda value: 0 <= value < 1)]
Share = Annotated[float, Must("a number from 0 to 1", lambda value: 0 <= value <= 1)]
Columns = Annotated[
    tuple[int, ...], Must("two column numbers, counted from 1", lambda value: len(value) == 2 and min(value) >= 1)
]
Ratio = Annotated[float, Must("at least 1, or 0 for no limit", lambda value: value == 0 or value >= 1)]

FEED_FORWARD = {"relu": 2, "swiglu": 3}  # weights of a layer of each kind; swiglu: arXiv 2002.05202
FeedForward = Annotated[str, one_of(*FEED_FORWARD)]


@dataclasses.dataclass(frozen=True)
class StackConfig:
    """A stack of N pre-norm blocks."""

    layers: int
    feed_forward: int  # d_ff
    attention: tuple[AttentionConfig, ...]  # of self-attention, a cycle over the layers; one where all are alike
    cross: tuple[AttentionConfig, ...] = ()  # of attention to a memory, a cycle; empty where there is none

    @property
    def attentions(self) -> tuple[AttentionConfig, ...]:
        """Of each layer."""
        return tuple(self.attention[layer % len(self.attention)] for layer in range(self.layers))

    @property
    def crosses(self) -> tuple[AttentionConfig, ...]:
        """Of each layer; empty without a memory."""
        return tuple(self.cross[layer % len(self.cross)] for layer in range(self.layers)) if self.cross else ()


@dataclasses.dataclass(frozen=True)
class DropoutConfig:
    """Rates at the three places of the paper's set-up: residuals, attention weights, after the ReLU."""

    residual: Rate = 0.0
    attention: Rate = 0.0
    hidden: Rate = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelBase:
    """What `config.model` and a `ModelConfig` both have."""

    width: Positive = 1024  # D
    vocabulary: Positive = 32768
    positions: Positive = 256  # the longest sequence
    learned_positions: bool = True  # a table of them is added to the input; rotary attention needs none
    tied_softmax: bool = True
    scaled_embedding: bool = True  # tokens are multiplied by sqrt(D) on their way in
    norm_eps: Above0 = 1e-6
    dtype: Annotated[str, one_of("bfloat16", "float32")] = "bfloat16"  # of activations and of products
    # Of what decoding keeps of past tokens, and of the weights that it multiplies with; None: as dtype.
    cache_dtype: Annotated[str, one_of("bfloat16", "float32", "int8")] | None = None
    weight_dtype: Annotated[str, one_of("int8")] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig(ModelBase):
    """A model: an encoder-decoder if `encoder` is set, a decoder-only language model if not."""

    decoder: StackConfig
    encoder: StackConfig | None = None
    dropout: DropoutConfig = DropoutConfig()
    feed_forward: FeedForward = "relu"

    @property
    def kept_dtype(self) -> str:
        """The type of a cache's rows."""
        return self.cache_dtype or self.dtype

    @property
    def decoding_types(self) -> str:
        """The types of weights and cache, for the name of a record: the model's own is named once."""
        weights = f"{self.weight_dtype}-weights" if self.weight_dtype else self.dtype
        return weights + (f"-{self.kept_dtype}-cache" if self.kept_dtype != self.dtype else "")

    def decoding_in(self, dtype: str | None, cache_dtype: str | None) -> "ModelConfig":
        """The same model that decodes in other types.

        Args:
          dtype: of activations and weights; int8: of the weights alone. None: as it is.
          cache_dtype: of what is kept of past tokens. None: as it is.
        """
        model = self
        if dtype == "int8":
            model = dataclasses.replace(model, weight_dtype="int8")
        elif dtype is not None:
            model = dataclasses.replace(model, dtype=dtype, weight_dtype=None)
        return dataclasses.replace(model, cache_dtype=cache_dtype) if cache_dtype is not None else model

    def feed_forward_parameters(self, hidden: int) -> int:
        """Parameters of one feed-forward layer."""
        return FEED_FORWARD[self.feed_forward] * self.width * hidden


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where text comes from and how it becomes token rows."""

    kind: str = "text"  # an entry of data/sources.py
    folder: str = ""
    train: tuple[str, ...] = ()  # source, target[, source, target ...], each plain or .gz; a .tsv(.gz) holds both
    # None: held out of train by rule (data/sources.py); so is test. Of lm1b: names of its held-out files.
    dev: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    columns: Columns = (1, 2)  # of a .tsv: source, target
    weights: tuple[Above0, ...] = ()  # shares of training examples, one for each corpus in train; none: all lines alike
    length_ratio: Ratio = 9.0  # drops pairs with a side this many times as long, in characters
    deduplicate: bool = True  # keeps one of pairs (or lines) that are the same
    drop_overlap: bool = True  # drops from train what is in dev or test
    dataset: str = ""  # of TFDS
    sentences: Count = 0  # of the generated pair
    pieces: Count = 0  # of the SentencePiece model; 0: model.vocabulary
    vocabulary_file: str = ""
    unk: str = ""  # a file of words; a language model sees each other word as UNK
    # What the SentencePiece model makes of text first. "identity" keeps it as it is, spaces too.
    normalization: Annotated[str, one_of("identity", "nmt_nfkc")] = "nmt_nfkc"
    source_length: Positive = 256
    target_length: Positive = 256
    rows: Positive = 128  # of a batch, on all devices together
    streams: Count = 0  # of a batch's rows, each with examples of its own (data/pipeline.py); 0: 8 if that divides rows
    packing: bool = True
    positions: Annotated[str, one_of("row", "segment")] = "segment"  # "row" is what the paper's packing did
    packed_scoring: bool = False  # losses and perplexities are of packed rows too, not of lines alone in a row
    seed: Count = 0


PLACES = "folder", "vocabulary_file", "unk"  # of config.data: where things lie, not what they hold


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Optimisation."""

    steps: Positive = 1000
    optimizer: Annotated[str, one_of("adafactor", "adamw")] = "adamw"
    schedule: Annotated[str, one_of("paper", "warmup_cosine", "warmup_rsqrt", "warmup_flat_sqrt", "constant")] = (
        "warmup_cosine"
    )
    learning_rate: Above0 = 1e-3
    warmup: Count = 100
    cooldown: Count = 0
    weight_decay: NotNegative = 0.0
    label_smoothing: Rate = 0.0
    z_loss: NotNegative = 0.0
    clip_norm: NotNegative = 0.0  # largest global norm of the gradients; 0: as they are
    accumulate: Positive = 1  # parts of a batch that go through the model one after the other
    rematerialise: bool = False  # compute each block's activations again instead of keeping them
    log_every: Positive = 50
    evaluate_every: Positive = 500
    dev_lines: Count = 0  # of dev, the first so many, that each evaluation while training scores; 0: all
    checkpoint_every: Positive = 500
    keep: Positive = 2  # newest checkpoints, besides the best
    spike: NotNegative = 2.0  # nats per token above the running average that end the run; 0: only what is no number
    skips: Count = 0  # steps that may be left out for that before the run ends
    translations: Count = 4  # sentences of dev to translate at each evaluation
    # Of a run that starts from another: begin the optimiser's statistics anew, or go on with the other's.
    optimizer_state: Annotated[str, one_of("reset", "keep")] = "reset"
    teacher: str = ""  # folder of a run whose distributions are learned too
    teacher_weight: Share = 0.5  # of the divergence from the teacher; the cross-entropy has the rest
    temperature: Above0 = 1.0  # of both distributions, in that divergence


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along each mesh axis; -1 for one axis takes all that are left."""

    data: int = -1
    fsdp: int = 1
    tensor: int = 1


@dataclasses.dataclass(frozen=True)
class DecodeConfig:
    """Search in evaluation. Output is at most `length_factor` x source + `length_extra` tokens (T2T)."""

    beam: Beams = 4
    alpha: NotNegative = 0.6
    length_factor: NotNegative = 1.5
    length_extra: Count = 10
    batch: Positive = 64
    test_sets: tuple[str, ...] = ()  # of sacreBLEU, which a comparison scores in place of the corpus's own test


@dataclasses.dataclass(frozen=True)
class TimingConfig:
    """The paper's timing protocol: fixed batch and lengths, outputs forced to full length."""

    batch: Positive = 128
    source_length: Positive = 128
    target_length: Positive = 128
    beams: tuple[Beams, ...] = (1, 4)
    lengths: tuple[Positive, ...] = ()
    repeats: Positive = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentBase:
    """What a config and an `Experiment` both have."""

    name: str = "unnamed"
    variant: str = "multi_head"
    seed: Count = 0
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    mesh: MeshConfig = MeshConfig()
    decode: DecodeConfig = DecodeConfig()
    timing: TimingConfig = TimingConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment(ExperimentBase):
    """Everything that defines one run."""

    model: ModelConfig
    start: str = ""  # folder of the run that gave the first parameters; empty: they were drawn

    @property
    def task(self) -> str:
        """`translation` or `language`."""
        return "language" if self.model.encoder is None else "translation"


def model_of(record: Mapping[str, Any]) -> ModelConfig:
    """The model of a record, which holds its experiment as JSON under `config`."""
    return block(ModelConfig, record["config"]["model"], "config.model", old=True)


def block(kind: type[T], values: object, path: str = "config", old: bool = False) -> T:
    """A block of a config, a dict with a dict for each block in it, as the dataclass `kind`.

    Args:
      path: of the block, for errors.
      old: it is an earlier run's; keys that are no longer there are left out, and new ones have their defaults.

    Raises:
      InputError: a key is unknown or missing or has a value that cannot be; the message names key, value and fix.
      TypeError: `old`, and what has no default is missing.
    """
    if not isinstance(values, dict):
        raise InputError(f"{path}={values!r} must be a block of settings")
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {field.name: field.default for field in dataclasses.fields(kind) if field.init}
    for key in [key for key in values if key not in fields and not old]:
        raise InputError(f"{path}.{key} is an unknown key; {path} has: {', '.join(sorted(fields))}")
    made = {}
    for key, default in fields.items():
        if key in values:
            hint = type(default) if dataclasses.is_dataclass(default) else hints[key]  # it may have more keys
            made[key] = _value(hint, values[key], f"{path}.{key}", old)
        elif default is not None and not old:
            raise InputError(f"{path}.{key} is missing; start the config from mqa_jax.config.defaults()")
    return kind(**made)


def _value(kind: Any, value: Any, path: str, old: bool) -> object:
    inner: Any = next((each for each in (kind, *typing.get_args(kind)) if dataclasses.is_dataclass(each)), None)
    if inner is AttentionConfig:
        each = [value] if isinstance(value, dict) else value or ()  # the first edition had one a stack, of one type
        return tuple(block(TYPES[one.get("type", "grouped")], one, path, old) for one in each)
    if inner is not None:
        return None if value is None and kind is not inner else block(inner, value, path, old)
    value = tuple(value) if isinstance(value, list) else value
    if wrong := _wrong(kind, value):
        raise InputError(f"{path}={value!r} must be {wrong}")
    return value


def _wrong(kind: Any, value: Any) -> str:
    """What a value must be by its hint, if it is not; else nothing."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return inner[1].be if _wrong(inner[0], value) or not inner[1].holds(value) else ""
    if origin in (typing.Union, types.UnionType):
        wrong = [_wrong(each, value) for each in inner]
        return " or ".join(wrong) if all(wrong) else ""
    if origin is tuple:
        each = [_wrong(inner[0], each) for each in value] if isinstance(value, tuple) else ["values"]
        return next((f"a,b,..., each {wrong}" for wrong in each if wrong), "")
    fits = isinstance(value, (int, float) if kind is float else kind) and isinstance(value, bool) == (kind is bool)
    if fits and kind in LIMITS:  # which a value that is no number is not below
        fits = abs(value) < LIMITS[kind]
    return "" if fits else _WORDS.get(kind, "None")


LIMITS = {int: MOST, float: 2.0**127}  # of what devices compute with
_WORDS = {
    int: "an integer below 2**31",
    float: "a finite number",
    str: "a text",
    bool: "True or False",
    dict: "a block of settings",
}
