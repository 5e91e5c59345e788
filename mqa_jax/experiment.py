"""What defines one run, as frozen dataclasses. Everything below the scripts is given these and no more."""

import dataclasses
import json
import types
import typing
from typing import Any


@dataclasses.dataclass(frozen=True)
class AttentionConfig:
    """The shape of one attention: H query heads over G write heads (K/V heads).

    G = H is multi-head, G = 1 multi-query, anything between grouped. `window` counts the current position
    and those before it; None sees everything.
    """

    heads: int
    write_heads: int
    key_size: int
    value_size: int
    window: int | None = None

    def parameters(self, width: int) -> int:
        """Parameters of the four projections at model width D."""
        return width * (self.heads + self.write_heads) * (self.key_size + self.value_size)


@dataclasses.dataclass(frozen=True)
class StackConfig:
    """A stack of N pre-norm blocks. `cross` is None where there is no memory to attend to."""

    layers: int
    feed_forward: int
    attention: AttentionConfig
    cross: AttentionConfig | None = None


@dataclasses.dataclass(frozen=True)
class DropoutConfig:
    """Rates at the three places of the paper's set-up: residuals, attention weights, after the ReLU."""

    residual: float = 0.0
    attention: float = 0.0
    hidden: float = 0.0


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A whole model. An encoder-decoder if `encoder` is set, a decoder-only language model if not."""

    width: int
    vocabulary: int
    positions: int
    tied_softmax: bool
    dtype: str
    decoder: StackConfig
    encoder: StackConfig | None = None
    dropout: DropoutConfig = DropoutConfig()


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


def _thaw(kind: Any, value: Any) -> Any:
    """A JSON value as `kind`: dataclasses from objects, tuples from lists."""
    if isinstance(kind, types.UnionType):
        return None if value is None else _thaw(kind.__args__[0], value)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)  # a field with a default is younger than the oldest such JSON
        names = [field.name for field in dataclasses.fields(kind) if field.name in value or _required(field)]
        return kind(**{name: _thaw(hints[name], value[name]) for name in names})
    return tuple(value) if typing.get_origin(kind) is tuple else value


def _required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
