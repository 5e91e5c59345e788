"""Models in llama.cpp's GGUF files: read as what they were made of, or refused."""

import dataclasses

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from outside import KINDS, LETTERS, PLAIN, model_config, read, values_of

from mqa_jax.data import vocabulary
from mqa_jax.errors import InputError
from mqa_jax.experiment import StackConfig
from mqa_jax.interop import llama
from mqa_jax.interop.gguf_file import File


def gguf_of(path, config, values, quantised=gguf.GGMLQuantizationType.F32, change=None):
    """A GGUF file as llama.cpp's converter writes it: pairs of a rotary side by side."""
    writer = gguf.GGUFWriter(path, "llama")
    given = llama.outside(config)
    writer.add_block_count(given["num_hidden_layers"])
    writer.add_context_length(config.positions)
    writer.add_embedding_length(config.width)
    writer.add_feed_forward_length(given["intermediate_size"])
    writer.add_head_count(given["num_attention_heads"])
    writer.add_head_count_kv(given["num_key_value_heads"])
    writer.add_rope_dimension_count(given["head_dim"])
    writer.add_key_length(given["head_dim"])
    writer.add_value_length(given["head_dim"])
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_freq_base(given["rope_theta"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    words = ["<unk>", "<s>", "</s>", *LETTERS, *"012345678", "th", "Ġ"]
    writer.add_token_list(words)
    writer.add_token_types([3, 3, 3, *[1] * (len(words) - 3)])
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, array in llama.written(values, llama.tensors(config), "float32"):
        for head, heads in (("q_proj", given["num_attention_heads"]), ("k_proj", given["num_key_value_heads"])):
            if head in name:
                halves = array.reshape(heads, 2, -1, array.shape[-1])
                array = np.swapaxes(halves, 1, 2).reshape(array.shape)
        outer = name.removeprefix("model.").replace("layers.", "blk.")
        for inner, short in (
            ("self_attn.o_proj", "attn_output"),
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("self_attn.v_proj", "attn_v"),
            ("mlp.gate_proj", "ffn_gate"),
            ("mlp.up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "ffn_norm"),
            ("embed_tokens", "token_embd"),
        ):
            outer = outer.replace(inner, short)
        outer = "output_norm.weight" if outer == "norm.weight" else outer
        kind = quantised if array.ndim > 1 else gguf.GGMLQuantizationType.F32
        data = gguf.quantize(array, kind) if kind != gguf.GGMLQuantizationType.F32 else array
        writer.add_tensor(outer, np.ascontiguousarray(data), raw_dtype=kind)
    if change:
        change(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


WIDE = dataclasses.replace(
    model_config(dataclasses.replace(PLAIN, key_size=8, value_size=8)),
    width=32,
    decoder=StackConfig(2, 64, (dataclasses.replace(PLAIN, key_size=8, value_size=8),)),
)  # rows of whole blocks of 32


def test_a_gguf_file_is_the_model_it_was_made_of(tmp_path):
    config = dataclasses.replace(KINDS["llama, grouped"], dtype="float32")
    values = values_of(config)
    model, found = read(File(gguf_of(tmp_path / "m.gguf", config, values)))
    assert model.config == config
    jax.tree.map(np.testing.assert_array_equal, found, values)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_1"])
def test_quantised_blocks_are_dequantised(kind, tmp_path):
    values = values_of(WIDE)
    model, found = read(File(gguf_of(tmp_path / "m.gguf", WIDE, values, gguf.GGMLQuantizationType[kind])))
    assert model.config == dataclasses.replace(WIDE, dtype="bfloat16")
    most = {"Q8_0": 0.01, "Q4_1": 0.12}[kind]
    far = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max() / jnp.abs(b).max()), found, values)
    assert 0 < max(jax.tree.leaves(far)) < most


def test_the_tokenizer_of_a_gguf_file_splits_digits_and_knows_who_ends_a_text(tmp_path):
    suffix, content = File(
        gguf_of(tmp_path / "m.gguf", KINDS["llama, grouped"], values_of(KINDS["llama, grouped"]))
    ).vocabulary()
    path = tmp_path / f"vocabulary{suffix}"
    path.write_bytes(content)
    words = vocabulary.read(path)
    letter = lambda text: [3 + LETTERS.index(each) for each in text]  # noqa: E731
    assert (words.bos, words.eos) == (1, 2)
    assert words.encode("bad 12") == [*letter("bad"), 39, 30, 31]
    assert words.encode("a</s>b") == [*letter("a"), 2, *letter("b")] and words.decode([3, 2, 4]) == "a"


def test_what_a_gguf_file_has_beyond_the_block_is_refused(tmp_path):
    config = KINDS["llama, grouped"]
    of = lambda name, change: gguf_of(tmp_path / name, config, values_of(config), change=change)  # noqa: E731
    with pytest.raises(InputError, match=r"llama.rope.scaling.type='yarn'"):
        File(of("a.gguf", lambda writer: writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)))
    freqs = np.ones(3, np.float32)
    with pytest.raises(InputError, match=r"rope_freqs.weight"):
        File(of("b.gguf", lambda writer: writer.add_tensor("rope_freqs.weight", freqs)))
    whole = of("c.gguf", None).read_bytes()
    (tmp_path / "c.gguf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="no GGUF file, or a damaged one"):
        File(tmp_path / "c.gguf")
