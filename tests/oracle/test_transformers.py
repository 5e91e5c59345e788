"""Random models of every kind, there and back: transformers computes the same logits.

transformers and torch lie in an environment of their own (`make oracle`): only the process that runs this file as a
script sees them.
"""

import pathlib
import subprocess
import sys

import numpy as np

PYTHON = pathlib.Path(__file__).parents[2] / ".venv" / "oracle" / "bin" / "python"
BASE = {"vocab_size": 67, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "bos_token_id": 1} | {
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "eos_token_id": 2,
}
ORIGINAL = {"rope_theta": 1e3, "original_max_position_embeddings": 32}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, **ORIGINAL}
KINDS = {
    "multi_head": ("Llama", {"num_key_value_heads": 4}),
    "head_size": ("Llama", {"head_dim": 10}),
    "multi_query_tied": ("Llama", {"num_key_value_heads": 1, "tie_word_embeddings": True}),
    "bias": ("Llama", {"attention_bias": True}),
    "linear": ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e3, "factor": 3.0}}),
    "llama3": ("Llama", {"rope_parameters": LLAMA3}),
    "yarn": ("Llama", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, **ORIGINAL}}),
    "mistral": ("Mistral", {"sliding_window": 4}),
    "qwen2": ("Qwen2", {}),
    "qwen2_window": ("Qwen2", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}),
}


LATENTS = {"plain": {}, "queries": {"query_rank": 10}, "converted": {"normalised": False}} | {
    "converted_odd": {"normalised": False, "kv_rank": 11}
}


def oracle(action, folder):
    """Runs this file with transformers: writes random models and their logits, or logits of what came back."""
    done = subprocess.run([PYTHON, __file__, action, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return np.load(folder / f"{action}.npz")


def test_models_from_transformers_and_back(tmp_path):
    import jax

    from mqa_jax import sharding
    from mqa_jax.batch import Batch, Rows
    from mqa_jax.experiment import MeshConfig
    from mqa_jax.interop import hugging_face, llama, outside
    from mqa_jax.model.build import build

    made = oracle("make", tmp_path)
    ids_BL = made["ids"].astype(np.int32)
    rows = Rows(ids_BL, np.ones_like(ids_BL), np.tile(np.arange(ids_BL.shape[1], dtype=np.int32), (len(ids_BL), 1)))
    mesh = sharding.make_mesh(MeshConfig(data=1, fsdp=-1))
    for name in KINDS:
        files = hugging_face.Folder(tmp_path / name)
        model = build(llama.model_config(files.config, name))
        outside.check(files, model, name)
        values = outside.parameters(files, model, sharding.parameter_shardings(model.axes(), model.shapes(), mesh))
        logits_BLV = jax.jit(lambda values, model=model: model.bind(values)(Batch(rows, ids_BL)))(values)
        np.testing.assert_allclose(logits_BLV, made[name], atol=1e-5, rtol=0, err_msg=name)
        (tmp_path / f"{name}.out").mkdir()
        tensors = llama.written(values, llama.tensors(model.config), "float32")
        hugging_face.write(tmp_path / f"{name}.out", llama.outside(model.config), tensors, "float32")
    back = oracle("read", tmp_path)
    for name in KINDS:
        np.testing.assert_array_equal(back[name], made[name], err_msg=name)


def test_latents_are_those_of_deepseek(tmp_path):
    import jax

    from mqa_jax.attention.latent import Latent
    from mqa_jax.attention.rotary import Rotary
    from mqa_jax.batch import Batch, Rows
    from mqa_jax.experiment import ModelConfig, StackConfig
    from mqa_jax.interop import deepseek, hugging_face
    from mqa_jax.model.build import build

    plain = {"heads": 4, "key_size": 6, "value_size": 5, "kv_rank": 12, "rotary_size": 4, "rotary": Rotary(base=1e3)}
    ids_BL = np.random.default_rng(0).integers(3, 67, (2, 40)).astype(np.int32)
    rows = Rows(ids_BL, np.ones_like(ids_BL), np.tile(np.arange(40, dtype=np.int32), (2, 1)))
    wanted = {}
    for name, changes in LATENTS.items():
        decoder = StackConfig(3, 80, (Latent(**plain | changes),))
        shape = {"width": 48, "vocabulary": 67, "positions": 128, "learned_positions": False, "scaled_embedding": False}
        config = ModelConfig(**shape, norm_eps=1e-5, dtype="float32", decoder=decoder, feed_forward="swiglu")
        model = build(config)
        loud = lambda w: w * 3 if w.ndim > 1 else w + 0.3 * np.sin(np.arange(w.size)).astype(np.float32)  # noqa: E731
        values = jax.tree.map(loud, model.init(jax.random.key(1)))
        wanted[name] = jax.jit(lambda values, model=model: model.bind(values)(Batch(rows, ids_BL)))(values)
        (tmp_path / f"{name}.out").mkdir()
        tensors = deepseek.written(config, values, "float32")
        hugging_face.write(tmp_path / f"{name}.out", deepseek.outside(config), tensors, "float32")
    found = oracle("latents", tmp_path)
    for name, logits_BLV in wanted.items():
        far = np.abs(found[name] - logits_BLV).max() / np.ptp(logits_BLV)
        # A latent without a norm is one almost: what it adds to LARGE^2 is left out.
        assert far < (2e-4 if name.startswith("converted") else 5e-6), (name, far)


def main(action, folder):
    import torch
    import transformers

    ids_BL = torch.tensor(np.random.default_rng(0).integers(3, 67, (2, 40)))
    given = {"attn_implementation": "eager", "dtype": torch.float32}
    logits = {"ids": ids_BL.numpy()}
    for name, (kind, changes) in (KINDS if action != "latents" else dict.fromkeys(LATENTS, ("", {}))).items():
        if action == "make":
            config = getattr(transformers, f"{kind}Config")(**BASE | changes)
            model = transformers.AutoModelForCausalLM.from_config(config, **given)
            with torch.no_grad():
                for parameter, value in model.named_parameters():  # biases too, which start as zeros
                    value.copy_(torch.rand_like(value) + 0.5 if "norm" in parameter else 0.15 * torch.randn_like(value))
            model.save_pretrained(folder / name)
        else:
            model, info = transformers.AutoModelForCausalLM.from_pretrained(
                folder / f"{name}.out", output_loading_info=True, **given
            )
            assert not info["missing_keys"] and not info["unexpected_keys"], (name, info)
        with torch.no_grad():
            logits[name] = model.eval()(ids_BL).logits.numpy()
    np.savez(folder / f"{action}.npz", **logits)


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
