"""A model in one GGUF file, as llama.cpp has it. Quantised tensors become float32."""

import json
import pathlib
from collections.abc import Iterable
from typing import Any

import gguf
import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from mqa_jax.errors import InputError
from mqa_jax.interop import hugging_face

ARCHITECTURES = ("llama", "qwen2")
OUTER = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_INNER = {outer: name for name, outer in OUTER.items()}
CONTROL, USER_DEFINED = 3, 4  # of tokenizer.ggml.token_type


class File:
    """A GGUF file, mapped into memory, as a `hugging_face.Folder`: with its names and its config."""

    dtype = "float32"

    def __init__(self, path: pathlib.Path):
        """
        Raises:
          InputError: the file is damaged, of another architecture, or of a quantisation that is not read.
        """
        self.path = path
        try:
            self._reader = gguf.GGUFReader(path)
        except Exception as error:  # of a damaged file it raises what numpy happens to
            raise InputError(f"{path} is no GGUF file, or a damaged one ({error}); fetch it again") from error
        self._kind = self._field("general.architecture")
        if self._kind not in ARCHITECTURES:
            raise InputError(
                f"{path} has general.architecture={self._kind!r}, which is not supported; supported are: "
                f"{', '.join(ARCHITECTURES)}"
            )
        self._tensors = {}
        for tensor in self._reader.tensors:
            if tensor.name == "rope_freqs.weight":
                raise InputError(
                    f"{path} scales rotary frequencies by {tensor.name}, which is not read; import its folder"
                )
            if tensor.tensor_type not in _readable():
                raise InputError(
                    f"{path} has {tensor.name} in {tensor.tensor_type.name}, which is not read; quantise it otherwise"
                )
            self._tensors[_inner(tensor.name)] = tensor
        self.names: Iterable[str] = self._tensors.keys()
        self.config = self._config()

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(int(size) for size in reversed(self._tensors[name].shape))

    def read(self, name: str) -> np.ndarray:
        """Of queries and keys GGUF's `llama` has the pairs of a rotary side by side."""
        tensor = self._tensors[name]
        array = np.asarray(gguf.dequantize(tensor.data, tensor.tensor_type)).reshape(self.shape(name))
        if self._kind == "llama" and ".self_attn.q_proj" in name:
            return self._halves(array, self.config["num_attention_heads"])
        if self._kind == "llama" and ".self_attn.k_proj" in name:
            return self._halves(array, self.config["num_key_value_heads"])
        return array

    def vocabulary(self) -> tuple[str, bytes]:
        model = self._field("tokenizer.ggml.model")
        if model != "gpt2":
            raise InputError(f"{self.path} has tokenizer.ggml.model={model!r}, which is not read; import its folder")
        kind = self._field("tokenizer.ggml.pre", "gpt-2")
        if kind not in _SPLITS:
            raise InputError(
                f"{self.path} has tokenizer.ggml.pre={kind!r}, which is not read; read are: {', '.join(_SPLITS)}"
            )
        tokens, types = self._field("tokenizer.ggml.tokens"), self._field("tokenizer.ggml.token_type", [])
        merges = [tuple(merge.split(" ", 1)) for merge in self._field("tokenizer.ggml.merges")]
        ids_of = {token: n for n, token in enumerate(tokens)}
        try:
            made = tokenizers.Tokenizer(models.BPE(ids_of, merges, ignore_merges=kind == "llama-bpe"))
        except Exception as error:  # the library raises Exception itself
            raise InputError(
                f"{self.path} has tokenizer.ggml.merges that do not fit ({error}); fetch it again"
            ) from error
        split, by_words = _SPLITS[kind]
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=by_words)
        made.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level]) if split else byte_level
        made.decoder = decoders.ByteLevel()
        special = [token for token, each in zip(tokens, types, strict=False) if each == CONTROL]
        made.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in special])
        user = [token for token, each in zip(tokens, types, strict=False) if each == USER_DEFINED]
        made.add_tokens([tokenizers.AddedToken(token, normalized=False) for token in user])
        ids = {key: self._field(f"tokenizer.ggml.{key}", None) for key in ("bos_token_id", "eos_token_id")}
        return ".json", hugging_face.vocabulary(json.loads(made.to_str()), ids, str(self.path))

    def _config(self) -> dict[str, Any]:
        """What `config.json` would say."""
        own = lambda key, *default: self._field(f"{self._kind}.{key}", *default)  # noqa: E731
        heads, width = own("attention.head_count"), own("embedding_length")
        scaling = own("rope.scaling.type", "none")
        if scaling not in ("none", "linear"):
            raise InputError(
                f"{self.path} has {self._kind}.rope.scaling.type={scaling!r}, which is not read; import its folder"
            )
        size = own("attention.key_length", own("rope.dimension_count", width // heads))
        if own("rope.dimension_count", size) != size or own("attention.value_length", size) != size:
            raise InputError(
                f"{self.path} has heads whose keys, values and rotary part differ in size; only one is read"
            )
        return {
            "model_type": self._kind,
            "hidden_size": width,
            "intermediate_size": own("feed_forward_length"),
            "num_hidden_layers": own("block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": own("attention.head_count_kv", heads),
            "head_dim": size,
            "max_position_embeddings": own("context_length"),
            "rms_norm_eps": own("attention.layer_norm_rms_epsilon"),
            "rope_theta": own("rope.freq_base", 10_000.0),
            "rope_scaling": {"type": "linear", "factor": own("rope.scaling.factor")} if scaling == "linear" else None,
            "vocab_size": self.shape("model.embed_tokens.weight")[0]
            if "model.embed_tokens.weight" in self.names
            else 0,
            "tie_word_embeddings": "lm_head.weight" not in self.names,
            "attention_bias": "model.layers.0.self_attn.o_proj.bias" in self.names,
            "torch_dtype": "float32" if self._widest() == gguf.GGMLQuantizationType.F32 else "bfloat16",
        }

    def _widest(self) -> gguf.GGMLQuantizationType:
        """The type of most matrices."""
        found = [tensor.tensor_type for tensor in self._tensors.values() if len(tensor.shape) > 1]
        return max(set(found), key=found.count)

    def _field(self, key: str, *default: Any) -> Any:
        field = self._reader.get_field(key)
        if field is None:
            if default:
                return default[0]
            raise InputError(f"{self.path} lacks the field {key}; it is damaged, or of another kind")
        value = field.contents()
        return float(str(np.float32(value))) if isinstance(value, float) else value  # 1e-5, not 9.99999974e-06

    def _halves(self, array: np.ndarray, heads: int) -> np.ndarray:
        """Rows of pairs side by side -> the firsts of all pairs of a head, then the seconds."""
        pairs = array.reshape(heads, -1, 2, *array.shape[1:])
        return np.swapaxes(pairs, 1, 2).reshape(array.shape)


def _inner(outer: str) -> str:
    """`blk.3.attn_q.weight` -> `model.layers.3.self_attn.q_proj.weight`; what is unknown stays."""
    *above, name, kind = outer.split(".")
    if name not in _INNER or (above and above[0] != "blk"):
        return outer
    return ".".join([*(["model.layers", above[1]] if above else []), _INNER[name], kind])


def _readable() -> set[gguf.GGMLQuantizationType]:
    """Types that the package can make float32 of."""
    plain = {gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16}
    return plain | set(gguf.quants._type_traits)


def _words(pattern: str) -> pre_tokenizers.Split:
    return pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")


_LLAMA = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# How a text falls apart before the merges, and whether by GPT-2's pattern then.
_SPLITS: dict[str, tuple[Any, bool]] = {
    "gpt-2": (None, True),
    "smollm": (pre_tokenizers.Digits(individual_digits=True), True),
    "llama-bpe": (_words(_LLAMA), False),
    "qwen2": (_words(_LLAMA.replace("{1,3}", "")), False),
}
