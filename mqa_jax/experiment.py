"""What defines one run, as frozen dataclasses. Everything below the scripts is given these and no more."""

import dataclasses
import json
import types
import typing
from typing import Any

from mqa_jax.attention.config import AttentionConfig
from mqa_jax.attention.registry import TYPES


@dataclasses.dataclass(frozen=True)
class StackConfig:
    """A stack of N pre-norm blocks.

    Attributes:
      feed_forward: d_ff.
      attention: of self-attention, a cycle over the layers; one where all are alike.
      cross: of attention to a memory, a cycle; empty where there is none.
    """

    layers: int
    feed_forward: int
    attention: tuple[AttentionConfig, ...]
    cross: tuple[AttentionConfig, ...] = ()

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

    residual: float = 0.0
    attention: float = 0.0
    hidden: float = 0.0


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A whole model. An encoder-decoder if `encoder` is set, a decoder-only language model if not.

    Attributes:
      width: D.
      positions: the longest sequence.
      learned_positions: whether a table of positions is added to the input; rotary attention needs none.
      scaled_embedding: whether tokens are multiplied by sqrt(D) on their way in.
      feed_forward: the kind of the feed-forward layers: relu, or swiglu, which has a third weight (arXiv 2002.05202).
      dtype: of activations and of products.
      cache_dtype: of what decoding keeps of past tokens; None: as dtype.
      weight_dtype: of the weights that decoding multiplies with; None: as dtype.
    """

    width: int
    vocabulary: int
    positions: int
    tied_softmax: bool
    dtype: str
    decoder: StackConfig
    encoder: StackConfig | None = None
    dropout: DropoutConfig = DropoutConfig()
    learned_positions: bool = True
    scaled_embedding: bool = True
    feed_forward: str = "relu"
    norm_eps: float = 1e-6
    cache_dtype: str | None = None
    weight_dtype: str | None = None

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
        return {"relu": 2, "swiglu": 3}[self.feed_forward] * self.width * hidden


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where text comes from and how it becomes token rows. `kind` names an entry of data/sources.py.

    Attributes:
      rows: of a batch, on all devices together.
      streams: into how many equal parts its rows fall, each of which has examples of its own: see data/streams.py.
    """

    kind: str
    folder: str
    train: tuple[str, ...]
    dev: tuple[str, ...]
    test: tuple[str, ...]
    columns: tuple[int, ...]
    weights: tuple[float, ...]
    length_ratio: float
    deduplicate: bool
    drop_overlap: bool
    dataset: str
    sentences: int
    pieces: int
    vocabulary_file: str
    source_length: int
    target_length: int
    rows: int
    packing: bool
    positions: str
    seed: int
    streams: int = 1


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Optimisation. `schedule` names a function of train/optimizer.py, `optimizer` likewise.

    Attributes:
      keep: how many of the newest checkpoints stay, besides the best.
      clip_norm: the largest global norm that gradients keep; 0 leaves them as they are.
      accumulate: in how many parts, one after the other, a batch goes through the model.
      rematerialise: each block's activations are computed a second time instead of kept.
      spike: nats per token above its running average from which a loss is refused; 0 for no limit.
      skips: refused steps with which a run may go on.
      samples: sentences of dev that are translated at each evaluation.
    """

    steps: int
    optimizer: str
    schedule: str
    learning_rate: float
    warmup: int
    cooldown: int
    weight_decay: float
    label_smoothing: float
    z_loss: float
    log_every: int
    evaluate_every: int
    checkpoint_every: int
    keep: int
    clip_norm: float = 0.0
    accumulate: int = 1
    rematerialise: bool = False
    spike: float = 0.0
    skips: int = 0
    samples: int = 0


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along each mesh axis; -1 for one axis takes all that are left."""

    data: int
    fsdp: int
    tensor: int


@dataclasses.dataclass(frozen=True)
class DecodeConfig:
    """Search in evaluation. Output is at most `length_factor` x source + `length_extra` tokens (T2T)."""

    beam: int
    alpha: float
    length_factor: float
    length_extra: int
    batch: int


@dataclasses.dataclass(frozen=True)
class TimingConfig:
    """The paper's timing protocol: fixed batch and lengths, outputs forced to full length."""

    batch: int
    source_length: int
    target_length: int
    beams: tuple[int, ...]
    lengths: tuple[int, ...]
    repeats: int


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything that defines one run."""

    name: str
    variant: str
    seed: int
    model: ModelConfig
    data: DataConfig
    train: TrainConfig
    mesh: MeshConfig
    decode: DecodeConfig
    timing: TimingConfig

    @property
    def task(self) -> str:
        """`translation` or `language`."""
        return "language" if self.model.encoder is None else "translation"


def to_json(experiment: Experiment) -> str:
    """JSON that `from_json` reads back to an equal experiment."""
    return json.dumps(dataclasses.asdict(experiment), indent=1) + "\n"


def from_json(text: str) -> Experiment:
    """The experiment that `to_json` wrote.

    Raises:
      KeyError, TypeError, ValueError: the text is not such JSON.
    """
    return _thaw(Experiment, json.loads(text))


def model_of(record: dict[str, Any]) -> ModelConfig:
    """The model of a record, which holds its experiment as JSON under `config`."""
    return _thaw(ModelConfig, record["config"]["model"])


def _thaw_attention(value: dict[str, Any]) -> AttentionConfig:
    """The attention of a record's or a checkpoint's config. Those of the first edition name no type: grouped."""
    kind = TYPES[value.get("type", "grouped")]
    return _thaw(kind, {name: each for name, each in value.items() if name != "type"})


def _thaw(kind: Any, value: Any) -> Any:
    """A JSON value as `kind`: dataclasses from objects, tuples from lists."""
    if kind is AttentionConfig:
        return _thaw_attention(value)
    if isinstance(kind, types.UnionType):
        return None if value is None else _thaw(kind.__args__[0], value)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)  # a field with a default is younger than the oldest such JSON
        fields = [field for field in dataclasses.fields(kind) if field.init]
        names = [field.name for field in fields if field.name in value or _required(field)]
        return kind(**{name: _thaw(hints[name], value[name]) for name in names})
    if typing.get_origin(kind) is tuple:
        if value is None or isinstance(value, dict):  # the first edition had one attention a stack
            value = [value] if value else []
        return tuple(_thaw(typing.get_args(kind)[0], each) for each in value)
    return value


def _required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
