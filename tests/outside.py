"""Models outside, small: their configs, their tokenizer, their folder."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import tokenizers
from small import parameters

from mqa_jax.attention.grouped import Grouped
from mqa_jax.attention.rotary import Rotary
from mqa_jax.experiment import ModelConfig, StackConfig
from mqa_jax.interop import hugging_face, llama, outside
from mqa_jax.model.build import build

V, LETTERS = 40, "abcdefghijklmnopqrstuvwxyz"
PLAIN = Grouped(heads=4, write_heads=2, key_size=6, value_size=6, rotary=Rotary(base=100.0))
LLAMA3 = Rotary(base=100.0, scaling="llama3", factor=4.0, low=1.0, high=3.0, original=16)
YARN = Rotary(base=100.0, scaling="yarn", factor=4.0, low=1.0, high=4.0, original=16, length=1.2)


def model_config(*layers, tied=True, **changes):
    return ModelConfig(
        width=16,
        vocabulary=V,
        positions=64,
        learned_positions=False,
        tied_softmax=tied,
        scaled_embedding=False,
        norm_eps=1e-5,
        dtype="float32",
        decoder=StackConfig(2, 24, layers),
        feed_forward="swiglu",
        **changes,
    )


KINDS = {
    "llama, grouped": model_config(PLAIN),
    "llama, multi-head, biases, free softmax": model_config(
        dataclasses.replace(PLAIN, write_heads=4, biases="all"), tied=False
    ),
    "llama, multi-query, llama3": model_config(dataclasses.replace(PLAIN, write_heads=1, rotary=LLAMA3)),
    "llama, yarn": model_config(dataclasses.replace(PLAIN, rotary=YARN)),
    "mistral": model_config(dataclasses.replace(PLAIN, window=4)),
    "qwen2": model_config(dataclasses.replace(PLAIN, biases="inputs")),
    "qwen2, a window from layer 1 on": model_config(
        dataclasses.replace(PLAIN, biases="inputs"), dataclasses.replace(PLAIN, biases="inputs", window=4)
    ),
}


def tokenizer():
    """Letters, and words that they make in one go; id 0 is unknown, 1 begins a text and 2 ends it."""
    words = ["<unk>", "<s>", "</s>", *LETTERS, " ", "th", "the"]
    merges = [("t", "h"), ("th", "e")]
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE({word: n for n, word in enumerate(words)}, merges, unk_token="<unk>")
    )
    made.add_special_tokens(["<s>", "</s>"])
    made.decoder = tokenizers.decoders.Fuse()
    return json.loads(made.to_str())


IDS = {"bos_token_id": 1, "eos_token_id": 2}


def values_of(config, seed=0):
    """Parameters of which every one counts, norms too."""
    random = np.random.default_rng(seed)
    scaled = lambda x: jnp.asarray(x * random.uniform(0.5, 1.5, x.shape), jnp.float32)  # noqa: E731
    return jax.tree.map(scaled, parameters(build(config), seed))


def written(folder, config, dtype="float32", seed=0):
    folder.mkdir(exist_ok=True)
    values = values_of(config, seed)
    hugging_face.write(folder, llama.outside(config) | IDS, llama.written(values, llama.tensors(config), dtype), dtype)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
    return values


def read(files, place="there"):
    model = build(llama.model_config(files.config, place))
    outside.check(files, model, place)
    where = jax.tree.map(lambda _: jax.devices()[0], model.shapes())
    return model, outside.parameters(files, model, where)
