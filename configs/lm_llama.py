"""A language model of Llama's blocks on your own text; without files, on Python's documentation.

    python scripts/train.py --config=configs/lm_llama.py:grouped_2 --workdir=runs/llama
    python scripts/train.py --config=configs/lm_llama.py:mla --describe

Rotary positions, SwiGLU, RMSNorm with eps 1e-5. `config.attention.rotary` also has a scaling for longer texts.
"""

from mqa_jax import config as base


def get_config(variant="grouped_2"):
    config = base.defaults()
    config.name = "lm_llama"
    config.model.update(
        encoder_layers=0,
        decoder_layers=4,
        width=256,
        feed_forward=704,
        feed_forward_kind="swiglu",
        vocabulary=4_096,
        positions=256,
        learned_positions=False,
        scaled_embedding=False,
        tied_softmax=True,
        norm_eps=1e-5,
    )
    config.baseline.update(heads=8, key_size=32, value_size=32)
    config.attention.rotary.base = 10_000.0
    config.variants = {
        "multi_head": {},
        "multi_query": {"write_heads": 1},
        "grouped_2": {"write_heads": 2},
        "grouped_4": {"write_heads": 4},
        "mla": {"type": "latent", "kv_rank": 128, "rotary_size": 16},
    }
    config.dropout.update(residual=0.1)
    config.data.update(kind="pydoc", normalization="identity", target_length=128, rows=32)
    config.train.update(
        steps=1_000, learning_rate=2e-3, warmup=100, weight_decay=1e-2, evaluate_every=250, checkpoint_every=250
    )
    config.timing.update(batch=32, source_length=8, target_length=120, beams=(1,), lengths=(64, 128, 256))
    return base.select_variant(config, variant)
