"""Models from outside and back: the same bytes, the same numbers, and one line for what cannot be read."""

import dataclasses
import json
import math

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers
from safetensors.numpy import load_file, save_file
from small import Compiled, parameters
from test_command import ROOT, forked, run, script  # noqa: F401  the fixtures

from mqa_jax.attention.grouped import Grouped
from mqa_jax.attention.rotary import Rotary
from mqa_jax.batch import Batch, Rows
from mqa_jax.data import pipeline, vocabulary
from mqa_jax.errors import InputError
from mqa_jax.evaluate import likelihood
from mqa_jax.experiment import ModelConfig, StackConfig
from mqa_jax.interop import hugging_face, llama, outside, runs
from mqa_jax.interop.gguf_file import File
from mqa_jax.interop.hugging_face import Folder
from mqa_jax.model.build import build
from mqa_jax.train import trained

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


# GGUF


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


# Commands


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outside")
    written(folder, KINDS["qwen2"], "bfloat16")
    return folder


def test_a_model_goes_in_is_scored_and_comes_out(there, run, tmp_path):  # noqa: F811
    result = run(f"--from={there}", f"--workdir={tmp_path}/run", program=ROOT / "scripts/import_model.py")
    assert result.returncode == 0, result.stderr
    (tmp_path / "lines").write_text("the cat\n\nabc\n")
    given = [f"--workdir={tmp_path}/run", f"--input={tmp_path}/lines", "--dtype=float32"]
    result = run(*given, "--prefix_id=5", "--eos", program=ROOT / "scripts/score.py")
    assert result.returncode == 0, result.stderr
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    ids = [[31, 29, 5, 3, 22], [], [3, 4, 5]]
    assert [int(tokens) for _, tokens in lines] == [len(each) + 1 for each in ids]
    of = trained.load(tmp_path / "run", dtype="float32")
    assert of.experiment.model.dtype == "float32" and (of.vocabulary.bos, of.vocabulary.eos) == (1, 2)
    for (log_probability, _), line in zip(lines, ids, strict=True):
        target = np.array([*line, 2])[None]
        side = Rows(target, np.ones_like(target), np.arange(target.size)[None])
        logits = Compiled(of.model.bind(of.parameters))(Batch(side, pipeline.shift_right(target, side.segments_BL, 5)))
        wanted = jax.nn.log_softmax(logits[0])[np.arange(target.size), target[0]].sum()
        np.testing.assert_allclose(float(log_probability), wanted, atol=2e-4)
    given = [f"--config={tmp_path}/run", "--config.timing.batch=3", "--describe", "--json=-"]
    result = run(*given, program=ROOT / "scripts/train.py")
    described = json.loads(result.stdout)
    assert (described["width"], described["batch"], described["feed_forward"]) == (16, 3, 24)
    result = run(f"--workdir={tmp_path}/run", f"--to={tmp_path}/out", program=ROOT / "scripts/export_model.py")
    assert result.returncode == 0, result.stderr
    for name in ("model.safetensors", "tokenizer.json"):
        once, again = (folder / name for folder in (there, tmp_path / "out"))
        if name == "tokenizer.json":
            assert json.loads(once.read_text()) == json.loads(again.read_text())
        else:
            once, again = load_file(once), load_file(again)
            assert all(once[each].tobytes() == again[each].tobytes() for each in once) and once.keys() == again.keys()


def test_long_lines_are_scored_in_pieces_and_lines_keep_their_order(tmp_path):
    config = model_config(PLAIN)
    (tmp_path / "vocabulary.json").write_bytes(hugging_face.vocabulary(tokenizer(), IDS, ""))
    words, model = vocabulary.read(tmp_path / "vocabulary.json"), build(config)
    of = trained.Trained(tmp_path, None, model, values_of(config), words, (0,))
    lines = ["ab" * 50, "", "cd", "ab" * 32]
    found = likelihood.score(of, lines)
    assert found.tokens.tolist() == [100, 0, 2, 64] and found.cut == []
    pieces = likelihood.score(of, [lines[0][:64], lines[0][64:], "cd"])
    np.testing.assert_allclose(found.log_probabilities[0], pieces.log_probabilities[:2].sum(), rtol=1e-5)
    np.testing.assert_allclose(found.log_probabilities[[2, 3]], pieces.log_probabilities[[2, 0]], rtol=1e-5)


def broken(there, folder, change):
    """A copy of the model outside with one thing wrong."""
    folder.mkdir()
    for path in there.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    change(folder)
    return folder


def configured(**changes):
    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def truncated(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def without(name):
    def change(folder):
        tensors = load_file(folder / "model.safetensors")
        save_file({key: value for key, value in tensors.items() if key != name}, folder / "model.safetensors")

    return change


def indexed(folder):
    names = dict.fromkeys(load_file(folder / "model.safetensors"), "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def longer_tokenizer(folder):
    held = tokenizer()
    held["model"]["vocab"] |= {f"word{n}": 32 + n for n in range(20)}
    (folder / "tokenizer.json").write_text(json.dumps(held))


BAD = {
    "pickle": (pickled, "pytorch_model.bin is a pickle"),
    "truncated": (truncated, "is damaged"),
    "missing shard": (indexed, "model-00001-of-00002.safetensors is missing"),
    "missing tensor": (without("model.norm.weight"), "lacks tensor model.norm.weight"),
    "shape": (configured(intermediate_size=25), "of shape [24, 16]; by the config it is [25, 16]"),
    "architecture": (configured(model_type="gpt_neox"), "model_type='gpt_neox', which is not supported"),
    "activation": (configured(hidden_act="gelu"), "hidden_act='gelu'"),
    "rope": (configured(rope_scaling={"rope_type": "longrope"}), "'longrope'"),
    "rope without factor": (configured(rope_scaling={"rope_type": "linear"}), "'factor' is missing"),
    "heads": (configured(num_key_value_heads=3), "does not divide"),
    "quantised": (configured(quantization_config={"bits": 4}), "quantization_config="),
    "tokenizer": (longer_tokenizer, "a tokenizer of 52 tokens and an embedding of 40"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer.json"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_nothing_is_written(case, there, run, tmp_path):  # noqa: F811
    change, words = BAD[case]
    folder = broken(there, tmp_path / "bad", change)
    result = run(f"--from={folder}", f"--workdir={tmp_path}/new", program=ROOT / "scripts/import_model.py")
    assert result.returncode == 2 and words in result.stderr and result.stderr.count("\n") == 1, result.stderr
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("new")]


def test_another_token_may_begin_texts(there, tmp_path):
    runs.imported(there, tmp_path / "run", bos=5)
    assert trained.load(tmp_path / "run").vocabulary.bos == 5
    with pytest.raises(InputError, match="token 40 is to begin texts and is not one of 40; give --bos=ID"):
        runs.imported(there, tmp_path / "other", bos=40)
    assert not (tmp_path / "other").exists()


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


def test_a_vocabulary_of_ours_is_written_as_one_of_tokenizers(tmp_path):
    text = ["the cat sat on the mat ", "  two spaces", "ünïcode 123 ☃", "dogs and cats and dogs"]
    words = vocabulary.train(text * 3, 300, tmp_path / "vocabulary.model", "identity")
    hugging_face.write_vocabulary(tmp_path, words)
    made = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for line in [*text, "", " a  b ", "new words", "\x00\u4e00"]:
        assert made.encode(line).ids == words.encode(line), line
        assert made.decode(words.encode(line)) == words.decode(words.encode(line))
