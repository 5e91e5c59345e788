"""A model with latent attention as DeepSeek-V2 has it outside (arXiv 2405.04434), all of its feed-forward layers dense.

Of a rotary part the pairs lie side by side there, and are its halves here. The norms of latents have the epsilon
`EPS` there, whatever the config says: a latent that is scaled by sqrt(EPS / epsilon) gets the same from its norm.

A latent without a norm, as a conversion makes it, gets one more number there, `LARGE`, that the norm sees almost alone.
The norm then divides by a constant, which its weights take back.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from mqa_jax.attention.latent import Latent
from mqa_jax.errors import InputError
from mqa_jax.experiment import ModelConfig
from mqa_jax.interop import llama

EPS, LARGE = 1e-6, 1e4


def outside(config: ModelConfig) -> dict[str, Any]:
    """The `config.json` of a model.

    Raises:
      InputError: the model has something that DeepSeek-V2 has not.
    """
    first = _alike(config)
    return llama.outside_attention(config) | {
        "architectures": ["DeepseekV2ForCausalLM"],
        "model_type": "deepseek_v2",
        "num_key_value_heads": first.heads,
        "attention_bias": not first.normalised,
        "first_k_dense_replace": config.decoder.layers,
        "q_lora_rank": first.query_rank,
        "kv_lora_rank": _rank(first),
        "qk_nope_head_dim": first.key_size,
        "qk_rope_head_dim": first.rotary_size,
        "head_dim": first.rotary_size,
        "v_head_dim": first.value_size,
        **llama.outer_rotary(first.rotary),
    }


def written(config: ModelConfig, parameters: Mapping[str, Any], dtype: str) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors outside, one after the other, in this type."""
    yield from llama.written(parameters, llama.around(config), dtype)
    first = _alike(config)
    for layer in range(config.decoder.layers):
        held = parameters["decoder"]["blocks"][layer]["attention"]
        for name, array in _attention(first, held, (EPS / config.norm_eps) ** 0.5):
            yield f"model.layers.{layer}.self_attn.{name}", array.astype(jnp.dtype(dtype))


def _attention(config: Latent, held: Mapping[str, Any], scale: float) -> Iterator[tuple[str, np.ndarray]]:
    C, rank, D = config.kv_rank, _rank(config), held["output"]["wo_HVD"].shape[-1]
    rows_DX = np.asarray(held["inputs"]["wc_DC"], np.float32)
    wk_CHK, wv_CHV = (np.asarray(held[name], np.float32) for name in ("wk_CHK", "wv_CHV"))
    up_CHX = np.concatenate([wk_CHK, wv_CHV], axis=-1)
    if config.normalised:
        latent_DC, norm_C = rows_DX[:, :C] * np.float32(scale), np.asarray(held["norm"]["scale_D"], np.float32)
    else:
        latent_DC = np.pad(rows_DX[:, :C], ((0, 0), (0, rank - C)))
        norm_C = np.full(rank, LARGE / rank**0.5, np.float32)
        up_CHX = np.pad(up_CHX, ((0, rank - C), (0, 0), (0, 0)))
        bias_X = np.zeros(rank + config.rotary_size, np.float32)
        bias_X[C] = LARGE
        yield "kv_a_proj_with_mqa.bias", bias_X
        yield "o_proj.bias", np.zeros(D, np.float32)
    rotary_DP = _side_by_side(rows_DX[:, C:], config.rotary_size)
    yield "kv_a_proj_with_mqa.weight", np.concatenate([latent_DC, rotary_DP], axis=1).T
    yield "kv_a_layernorm.weight", norm_C
    yield "kv_b_proj.weight", up_CHX.reshape(rank, -1).T
    if config.query_rank is None:
        queries = "q_proj.weight", held["inputs"]["wq_DHK"]
    else:
        yield "q_a_proj.weight", np.asarray(held["inputs"]["wq_DQ"], np.float32).T * np.float32(scale)
        yield "q_a_layernorm.weight", np.asarray(held["query_norm"]["scale_D"], np.float32)
        queries = "q_b_proj.weight", held["query_up"]["wq_QHK"]
    wq_DHK = _side_by_side(np.asarray(queries[1], np.float32), config.rotary_size)
    yield queries[0], wq_DHK.reshape(len(wq_DHK), -1).T
    yield "o_proj.weight", np.asarray(held["output"]["wo_HVD"], np.float32).reshape(-1, D).T


def _rank(config: Latent) -> int:
    """Numbers of a latent outside; transformers cannot have an odd number."""
    return config.kv_rank if config.normalised else (config.kv_rank + 2) // 2 * 2


def _side_by_side(weight: np.ndarray, size: int) -> np.ndarray:
    """The last `size` of the last axis with its halves as pairs."""
    plain, rotary = weight[..., : weight.shape[-1] - size], weight[..., weight.shape[-1] - size :]
    pairs = np.swapaxes(rotary.reshape(*rotary.shape[:-1], 2, -1), -1, -2).reshape(rotary.shape)
    return np.concatenate([plain, pairs], axis=-1)


def _alike(config: ModelConfig) -> Latent:
    """The attention of all layers."""
    first = config.decoder.attentions[0]
    for layer, each in enumerate(config.decoder.attentions):
        if each != first:
            raise InputError(
                f"layer {layer} has {each.describe()}, layer 0 {first.describe()}; DeepSeek's are all alike"
            )
    assert isinstance(first, Latent)
    for has, what in (
        (first.window is not None, "a window"),
        (not first.rotary_size, "no rotary key"),
        (first.rotary.scaling == "yarn", "YaRN's positions"),
        (first.normalised and first.kv_rank % 2, f"an odd latent of {first.kv_rank}"),
        (not first.normalised and first.query_rank is not None, "a latent without a norm beside one of queries"),
    ):
        if has:
            raise InputError(f"the model has {what}, which DeepSeek-V2 has no place for in transformers")
    return first
