"""Models from outside and back: the same bytes and the same numbers, as the names outside say."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest
import tokenizers
from outside import KINDS, LLAMA3, PLAIN, YARN, V, read, written
from safetensors.numpy import load_file
from small import Compiled

from mqa_jax.attention.grouped import Grouped
from mqa_jax.batch import Batch, Rows
from mqa_jax.data import vocabulary
from mqa_jax.errors import InputError
from mqa_jax.experiment import StackConfig
from mqa_jax.interop import convert, hugging_face, llama
from mqa_jax.interop.hugging_face import Folder
from mqa_jax.interop.targets import Pooled
from mqa_jax.model.build import build


@pytest.mark.parametrize("kind", KINDS)
def test_out_and_in_again_is_the_same_model(kind, tmp_path):
    config = KINDS[kind]
    values = written(tmp_path, config)
    model, found = read(Folder(tmp_path))
    assert model.config == config
    jax.tree.map(np.testing.assert_array_equal, found, values)


@pytest.mark.parametrize("kind", ["llama, multi-head, biases, free softmax", "qwen2, a window from layer 1 on"])
def test_a_model_outside_is_as_the_names_say(kind, tmp_path):
    """Logits by NumPy from the tensors and the config outside, read as Hugging Face documents them."""
    config = KINDS[kind]
    values = written(tmp_path, config, seed=3)
    tokens = np.random.default_rng(1).integers(3, V, 9)
    side = Rows(tokens[None], np.ones((1, 9), np.int32), np.arange(9)[None])
    logits = Compiled(build(config).bind(values))(Batch(side, tokens[None]))[0]
    given = json.loads((tmp_path / "config.json").read_text())
    np.testing.assert_allclose(logits, by_names(given, load_file(tmp_path / "model.safetensors"), tokens), atol=2e-5)


def by_names(given, tensors, tokens):
    """The forward of transformers' documentation, in float64."""
    t = {name.removeprefix("model."): array.astype(np.float64) for name, array in tensors.items()}
    L, K, H, G = len(tokens), given["head_dim"], given["num_attention_heads"], given["num_key_value_heads"]
    angle = np.arange(L)[:, None] * given["rope_theta"] ** (-np.arange(0, K, 2) / K)
    cos, sin = (np.tile(each, 2)[:, None] for each in (np.cos(angle), np.sin(angle)))
    norm = lambda x, w: x / np.sqrt((x**2).mean(-1, keepdims=True) + given["rms_norm_eps"]) * w  # noqa: E731
    linear = lambda x, name: x @ t[f"{name}.weight"].T + t.get(f"{name}.bias", 0)  # noqa: E731
    turn = lambda x: x * cos + np.concatenate([-x[..., K // 2 :], x[..., : K // 2]], -1) * sin  # noqa: E731
    x = t["embed_tokens.weight"][tokens]
    for layer in range(given["num_hidden_layers"]):
        at, y = f"layers.{layer}", norm(x, t[f"layers.{layer}.input_layernorm.weight"])
        q, k, v = (linear(y, f"{at}.self_attn.{each}_proj").reshape(L, -1, K) for each in "qkv")
        k, v = (np.repeat(each, H // G, axis=1) for each in (turn(k), v))
        far = np.arange(L)[:, None] - np.arange(L)
        sees = far >= 0
        if given.get("use_sliding_window") and layer >= given["max_window_layers"]:
            sees &= far < given["sliding_window"]
        scores = np.where(sees, np.einsum("lhk,mhk->hlm", turn(q), k) / math.sqrt(K), -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        o = np.einsum("hlm,mhk->lhk", weights / weights.sum(-1, keepdims=True), v)
        x = x + linear(o.reshape(L, -1), f"{at}.self_attn.o_proj")
        y = norm(x, t[f"{at}.post_attention_layernorm.weight"])
        gate = linear(y, f"{at}.mlp.gate_proj")
        x = x + linear(gate / (1 + np.exp(-gate)) * linear(y, f"{at}.mlp.up_proj"), f"{at}.mlp.down_proj")
    return (
        norm(x, t["norm.weight"]) @ t.get("lm_head.weight", tensors.get("lm_head.weight", t["embed_tokens.weight"])).T
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_tensors_in_short_types_come_back_byte_for_byte(dtype, tmp_path):
    config = KINDS["llama, grouped"]
    written(tmp_path / "a", config, dtype)
    _, found = read(Folder(tmp_path / "a"))
    hugging_face.write(tmp_path, llama.outside(config), llama.written(found, llama.tensors(config), dtype), dtype)
    once, again = (load_file(folder / "model.safetensors") for folder in (tmp_path / "a", tmp_path))
    assert once.keys() == again.keys() and all(once[name].tobytes() == again[name].tobytes() for name in once)


def test_a_model_in_several_files_is_read_from_all(tmp_path, monkeypatch):
    monkeypatch.setattr(hugging_face, "SHARD", 4096)
    values = written(tmp_path, KINDS["mistral"])
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 2
    jax.tree.map(np.testing.assert_array_equal, read(Folder(tmp_path))[1], values)


def test_yarn_and_llama3_keep_fast_pairs_and_stretch_slow_ones():
    """Values of the papers' formulae, worked out apart: head size 8, theta 100, 16 positions, factor 4."""
    plain = 100.0 ** (-np.arange(0, 8, 2) / 8)
    turns = 16 * plain / (2 * np.pi)
    ramp = np.clip((turns - 1) / 2, 0, 1)
    np.testing.assert_allclose(LLAMA3.frequencies(8), plain * (ramp + (1 - ramp) / 4))
    pair = lambda turned: 8 * np.log(16 / (turned * 2 * np.pi)) / (2 * np.log(100))  # noqa: E731
    low, high = np.floor(pair(4)), np.ceil(pair(1))
    assert low < 0 and high == 1
    stretched = np.clip(np.arange(4) / high, 0, 1)
    np.testing.assert_allclose(YARN.frequencies(8), plain / 4 * stretched + plain * (1 - stretched))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"feed_forward": "relu"}, "relu feed-forward layers"),
        ({"learned_positions": True}, "learned positions"),
        ({"decoder": StackConfig(2, 24, (dataclasses.replace(PLAIN, window=4, sinks=2),))}, "sinks"),
        ({"decoder": StackConfig(2, 24, (PLAIN, dataclasses.replace(PLAIN, write_heads=1)))}, "are all alike"),
        ({"decoder": StackConfig(2, 24, (PLAIN, dataclasses.replace(PLAIN, window=4)))}, "windows"),
    ],
)
def test_what_llamas_block_has_not_is_not_written(change, words):
    with pytest.raises(InputError, match=words):
        llama.outside(dataclasses.replace(KINDS["llama, grouped"], **change))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Other(Grouped):
    """A type made from Grouped, which may have weights of its own."""

    name = "other"


def test_a_type_made_from_grouped_is_not_taken_for_it():
    given = KINDS["llama, grouped"]
    made = Other(**{field.name: getattr(PLAIN, field.name) for field in dataclasses.fields(PLAIN) if field.init})
    model = dataclasses.replace(given, decoder=StackConfig(2, 24, (made,)))
    with pytest.raises(InputError, match="Llama's block has grouped attention"):
        llama.outside(model)
    with pytest.raises(InputError, match="decoder layer 0 has other attention; only grouped attention is converted"):
        convert.converted(model, Pooled(1, "mean"))


def test_a_vocabulary_of_ours_is_written_as_one_of_tokenizers(tmp_path):
    text = ["the cat sat on the mat ", "  two spaces", "ünïcode 123 ☃", "dogs and cats and dogs"]
    words = vocabulary.train(text * 3, 300, tmp_path / "vocabulary.model", "identity")
    hugging_face.write_vocabulary(tmp_path, words)
    made = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["add_bos_token"] is True
    for line in [*text, "", " a  b ", "new words", "\x00\u4e00"]:
        assert made.encode(line).ids == [words.bos, *words.encode(line)], line
        assert made.decode(words.encode(line)) == words.decode(words.encode(line))
