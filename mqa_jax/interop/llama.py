"""A model of Llama's blocks as others name it: their config, their tensors, and this project's for each of them.

The names are Hugging Face's. A linear map lies outside as [output, input], here as [input, *output]; query head h reads
write head h // (H / G), and rotary pairs are the halves of a head, in both.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from mqa_jax.attention.config import AttentionConfig, cycle
from mqa_jax.attention.grouped import Grouped
from mqa_jax.attention.rotary import Rotary
from mqa_jax.errors import InputError
from mqa_jax.experiment import ModelConfig, StackConfig

KINDS = ("llama", "mistral", "qwen2")
FIXED = {  # what these keys must be, if they are there
    "hidden_act": ("silu",),
    "mlp_bias": (False,),
    "partial_rotary_factor": (1, None),
    "quantization_config": (None,),
    "use_mrope": (False, None),
}
DTYPES = {"float32": "float32", "float16": "bfloat16", "bfloat16": "bfloat16"}


class Tensor(NamedTuple):
    """One tensor outside, and where it lies here.

    Attributes:
      path: in the parameters.
      contracted: axes of the input of a linear map, which lies outside the other way round; 0 for what is no such map.
    """

    name: str
    path: tuple[str | int, ...]
    contracted: int = 0

    def inside(self, array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """What was outside, in the shape that it has here."""
        return (array.T if self.contracted else array).reshape(shape)

    def outside(self, array: np.ndarray) -> np.ndarray:
        """What was here, in the shape that it has outside."""
        shape = self.outer_shape(array.shape)
        return array.reshape(shape[::-1]).T if self.contracted else array.reshape(shape)

    def outer_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape outside of what has this one here."""
        if self.contracted:
            return math.prod(shape[self.contracted :]), math.prod(shape[: self.contracted])
        return tuple(shape) if self.name.endswith(("embed_tokens.weight", "lm_head.weight")) else (math.prod(shape),)


def tensors(config: ModelConfig) -> Iterator[Tensor]:
    """Every parameter of a model with grouped attention."""
    yield from around(config)
    for layer, attention in enumerate(config.decoder.attentions):
        assert isinstance(attention, Grouped)
        outer, inner = f"model.layers.{layer}.self_attn", ("decoder", "blocks", layer, "attention")
        for name, weight, bias in (("q", "wq_DHK", "bq_HK"), ("k", "wk_DGK", "bk_GK"), ("v", "wv_DGV", "bv_GV")):
            yield Tensor(f"{outer}.{name}_proj.weight", (*inner, "inputs", weight), 1)
            if attention.biases != "none":
                yield Tensor(f"{outer}.{name}_proj.bias", (*inner, "inputs", bias))
        yield Tensor(f"{outer}.o_proj.weight", (*inner, "output", "wo_HVD"), 2)
        if attention.biases == "all":
            yield Tensor(f"{outer}.o_proj.bias", (*inner, "output", "bo_D"))


def around(config: ModelConfig) -> Iterator[Tensor]:
    """Every parameter but the attentions'."""
    yield Tensor("model.embed_tokens.weight", ("embedding", "tokens_VD"))
    for layer in range(config.decoder.layers):
        outer, inner = f"model.layers.{layer}", ("decoder", "blocks", layer)
        yield Tensor(f"{outer}.input_layernorm.weight", (*inner, "attention_norm", "scale_D"))
        yield Tensor(f"{outer}.post_attention_layernorm.weight", (*inner, "feed_forward_norm", "scale_D"))
        yield Tensor(f"{outer}.mlp.gate_proj.weight", (*inner, "feed_forward", "inputs", "w_gate_DF"), 1)
        yield Tensor(f"{outer}.mlp.up_proj.weight", (*inner, "feed_forward", "inputs", "w_in_DF"), 1)
        yield Tensor(f"{outer}.mlp.down_proj.weight", (*inner, "feed_forward", "output", "w_out_FD"), 1)
    yield Tensor("model.norm.weight", ("decoder", "norm", "scale_D"))
    if not config.tied_softmax:
        yield Tensor("lm_head.weight", ("embedding", "softmax_VD"))


def written(parameters: Mapping[str, Any], wanted: Iterable[Tensor], dtype: str) -> Iterator[tuple[str, np.ndarray]]:
    """Tensors outside, one after the other, in this type."""
    for each in wanted:
        array: Any = parameters
        for key in each.path:
            array = array[key]
        yield each.name, each.outside(np.asarray(array, np.float32)).astype(jnp.dtype(dtype))


def model_config(given: Mapping[str, Any], place: str) -> ModelConfig:
    """The model of a `config.json`.

    Args:
      place: of the config, for errors.
    Raises:
      InputError: a field is missing, or has a value that there is nothing for here.
    """
    kind = given.get("model_type")
    if kind not in KINDS:
        raise InputError(f"{place} has model_type={kind!r}, which is not supported; supported are: {', '.join(KINDS)}")
    for key, allowed in FIXED.items():
        if given.get(key, allowed[0]) not in allowed:
            raise InputError(f"{place} has {key}={given[key]!r}, which is not supported; it must be {allowed[0]!r}")

    def number(key: str, default: int | None = None) -> int:
        value = given.get(key) if given.get(key) is not None else default
        if not isinstance(value, int) or value < 1:
            raise InputError(f"{place} has {key}={value!r}; it must be an integer of at least 1")
        return value

    dtype = given.get("dtype", given.get("torch_dtype")) or "float32"
    if dtype not in DTYPES:
        raise InputError(f"{place} has torch_dtype={dtype!r}, which is not supported; choose from: {', '.join(DTYPES)}")
    heads, layers, eps = number("num_attention_heads"), number("num_hidden_layers"), given.get("rms_norm_eps", 1e-6)
    size = number("head_dim", number("hidden_size") // heads)
    biases = "inputs" if kind == "qwen2" else "all" if given.get("attention_bias") else "none"
    try:
        attention = Grouped(
            heads=heads,
            write_heads=number("num_key_value_heads", heads),
            key_size=size,
            value_size=size,
            rotary=_rotary(given, size, place),
            biases=biases,
        )
    except InputError as error:
        raise InputError(f"{place}: {error}") from error
    windows = _windows(given, kind, layers, place)
    return ModelConfig(
        width=number("hidden_size"),
        vocabulary=number("vocab_size"),
        positions=number("max_position_embeddings", 2048),
        learned_positions=False,
        tied_softmax=bool(given.get("tie_word_embeddings", False)),
        scaled_embedding=False,
        norm_eps=eps,
        dtype=DTYPES[dtype],
        decoder=StackConfig(
            layers,
            number("intermediate_size"),
            cycle([dataclasses.replace(attention, window=window) for window in windows]),
        ),
        feed_forward="swiglu",
    )


def outside(config: ModelConfig) -> dict[str, Any]:
    """The `config.json` of a model.

    Raises:
      InputError: the model has something that Llama's block has not.
    """
    layers = config.decoder.attentions
    first, windows = _alike(layers), [each.window for each in layers]
    kind = {"inputs": "qwen2", "all": "llama"}.get(first.biases, "mistral" if any(windows) else "llama")
    made = {
        **outside_attention(config),
        "architectures": [{"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2"}[kind] + "ForCausalLM"],
        "model_type": kind,
        "num_key_value_heads": first.write_heads,
        "head_dim": first.key_size,
        **outer_rotary(first.rotary),
    }
    return made | ({"attention_bias": first.biases == "all"} if kind == "llama" else {}) | _outer_windows(kind, windows)


def outside_attention(config: ModelConfig) -> dict[str, Any]:
    """What a `config.json` says but for the attention.

    Raises:
      InputError: the model has something that Llama's block has not.
    """
    for has, what in (
        (config.encoder is not None, "an encoder"),
        (config.feed_forward != "swiglu", f"{config.feed_forward} feed-forward layers"),
        (config.learned_positions, "learned positions"),
        (config.scaled_embedding, "a scaled embedding"),
    ):
        if has:
            raise InputError(f"the model has {what}, and Llama's block has not; train one with configs/lm_llama.py")
    heads = config.decoder.attentions[0].heads
    if config.width % heads:
        raise InputError(
            f"the model's width {config.width} is no multiple of its {heads} heads, which transformers refuses"
        )
    return {
        "hidden_size": config.width,
        "intermediate_size": config.decoder.feed_forward,
        "num_hidden_layers": config.decoder.layers,
        "num_attention_heads": heads,
        "hidden_act": "silu",
        "max_position_embeddings": config.positions,
        "rms_norm_eps": config.norm_eps,
        "vocab_size": config.vocabulary,
        "tie_word_embeddings": config.tied_softmax,
    }


def _alike(layers: Sequence[AttentionConfig]) -> Grouped:
    """The attention of all layers but for their windows."""
    first = dataclasses.replace(layers[0], window=None, sinks=0)
    for layer, each in enumerate(layers):
        if each.sinks:
            raise InputError(f"layer {layer} keeps {each.sinks} sinks, and Llama's block has none")
        if dataclasses.replace(each, window=None) != first:
            raise InputError(f"layer {layer} has {each.describe()}, layer 0 {first.describe()}; Llama's are all alike")
    if type(first) is not Grouped or first.rotary is None or first.key_size != first.value_size:
        raise InputError(
            f"the model has {first.describe()}; Llama's block has grouped attention with rotary positions and values "
            "of the size of its keys"
        )
    return first


def _rotary(given: Mapping[str, Any], size: int, place: str) -> Rotary:
    scaling = {**(given.get("rope_scaling") or {}), **(given.get("rope_parameters") or {})}
    base = scaling.get("rope_theta", given.get("rope_theta", 10_000.0))
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    rotary = Rotary(base=float(base))
    original = scaling.get("original_max_position_embeddings") or given.get("max_position_embeddings", 2048)
    if kind == "default":
        return rotary
    try:
        if kind == "linear":
            return dataclasses.replace(rotary, scaling="linear", factor=float(scaling["factor"]))
        if kind == "llama3":
            low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
            shape = {"low": float(low), "high": float(high), "original": int(original)}
            return dataclasses.replace(rotary, scaling="llama3", factor=float(scaling["factor"]), **shape)
        if kind == "yarn":
            low, high, factor = scaling.get("beta_slow") or 1, scaling.get("beta_fast") or 32, float(scaling["factor"])
            shape = {"low": float(low), "high": float(high), "original": int(original)}
            return dataclasses.replace(rotary, scaling="yarn", factor=factor, length=_yarn_length(scaling), **shape)
    except KeyError as error:
        raise InputError(f"{place} has rope_scaling={scaling!r}, in which {error} is missing") from error
    raise InputError(
        f"{place} has rope_scaling of type {kind!r}, which is not supported; supported are linear, llama3 and yarn"
    )


def _yarn_length(scaling: Mapping[str, Any]) -> float:
    if scaling.get("attention_factor") is not None:
        return float(scaling["attention_factor"])
    grown = lambda share: 0.1 * share * math.log(scaling["factor"]) + 1  # noqa: E731
    if scaling.get("mscale") and scaling.get("mscale_all_dim"):
        return grown(scaling["mscale"]) / grown(scaling["mscale_all_dim"])
    return grown(1)


def outer_rotary(rotary: Rotary | None) -> dict[str, Any]:
    """What a `config.json` says of positions."""
    assert rotary is not None
    scaling: dict[str, Any] | None = {"rope_type": rotary.scaling, "type": rotary.scaling, "factor": rotary.factor}
    if rotary.scaling == "none":
        scaling = None
    elif rotary.scaling == "llama3":
        scaling |= {"low_freq_factor": rotary.low, "high_freq_factor": rotary.high}
        scaling |= {"original_max_position_embeddings": rotary.original}
    elif rotary.scaling == "yarn":
        scaling |= {"beta_slow": rotary.low, "beta_fast": rotary.high, "attention_factor": rotary.length}
        scaling |= {"original_max_position_embeddings": rotary.original}
    return {"rope_theta": rotary.base, "rope_scaling": scaling}


def _windows(given: Mapping[str, Any], kind: str, layers: int, place: str) -> list[int | None]:
    """How far each layer sees."""
    window = given.get("sliding_window")
    if kind == "llama" or (kind == "qwen2" and not given.get("use_sliding_window")):
        return [None] * layers
    if window is not None and (not isinstance(window, int) or window < 1):
        raise InputError(f"{place} has sliding_window={window!r}; it must be an integer of at least 1, or null")
    kinds = given.get("layer_types")
    if kinds:
        return [window if kinds[layer] == "sliding_attention" else None for layer in range(layers)]
    first = given.get("max_window_layers", layers) if kind == "qwen2" else 0
    return [None if layer < first else window for layer in range(layers)]


def _outer_windows(kind: str, windows: Sequence[int | None]) -> dict[str, Any]:
    first = next((layer for layer, window in enumerate(windows) if window), len(windows))
    window = windows[-1]
    if (
        any(each != window for each in windows[first:])
        or (first and kind == "mistral")
        or (any(windows) and kind == "llama")
    ):
        raise InputError(
            f"the layers have the windows {list(windows)} and a block of {kind}, for which there is no config outside"
        )
    if kind == "qwen2":
        return {"use_sliding_window": bool(window), "sliding_window": window, "max_window_layers": first}
    return {"sliding_window": window} if kind == "mistral" else {}
