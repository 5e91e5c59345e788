"""Fused attention compiled ahead of time for TPUs that are not here: one kernel, and no array of scores."""

import json
import platform
import sys

import pytest
from test_tpu import run_for_tpu

COMPILE = """
import functools, json, math, re, sys
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from mqa_jax.kernels import fused
from mqa_jax.kernels.whole import attend, causal_mask

topology, shape, G, dtype, rematerialise = json.loads(sys.argv[1])
B, L, H, K = 8, 512, 8, 64
devices = topologies.get_topology_desc(topology, platform="tpu").devices[: math.prod(shape)]
mesh = Mesh(np.asarray(devices).reshape(shape), ("data", "fsdp", "tensor"))

def forward(q, k, v, segments):
    def plain():
        return attend(q, k, v, causal_mask(segments))
    return fused.attend(q, k, v, segments, segments, causal=True, window=None, otherwise=plain, mesh=mesh)

def loss(q, k, v, segments):
    return (jax.checkpoint(forward) if rematerialise else forward)(q, k, v, segments).astype(jnp.float32).sum()

def on_mesh(shape, dtype, *spec):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, PartitionSpec(*spec)))

rows, heads = ("data", "fsdp"), "tensor"
memory = on_mesh((B, L, G, K), dtype, rows, None, heads if G % mesh.shape["tensor"] == 0 else None)
operands = (on_mesh((B, L, H, K), dtype, rows, None, heads), memory, memory, on_mesh((B, L), "int32", rows))
found = {}
for name, function in (("forward", forward), ("gradient", jax.grad(loss, argnums=(0, 1, 2)))):
    text = jax.jit(function).lower(*operands).compile().as_text()
    sizes = [math.prod(map(int, each.split(","))) for each in re.findall(r"[a-z]\\w*\\[([\\d,]+)\\]", text)]
    kernels = len(re.findall('custom_call_target="tpu_custom_call"', text))
    found[name] = kernels, max(sizes), B * H * L * L // math.prod(shape)
print(json.dumps(found))
"""


def compiled_for(topology, shape, G, dtype, rematerialise):
    return run_for_tpu(COMPILE, json.dumps([topology, shape, G, dtype, rematerialise]))


if sys.platform == "linux" and platform.machine() == "x86_64":  # what libtpu is built for

    @pytest.mark.parametrize(
        ("topology", "shape", "G", "dtype", "rematerialise"),
        [
            ("v5e:2x2", (1, 1, 1), 1, "bfloat16", False),
            ("v5e:2x2", (1, 1, 1), 2, "bfloat16", True),
            ("v5e:2x2", (2, 1, 2), 1, "bfloat16", False),
            ("v5e:2x2", (1, 1, 4), 2, "float32", False),
            ("v2:2x2", (1, 1, 1), 8, "float32", False),
        ],
    )
    def test_a_tpu_holds_no_array_of_scores(topology, shape, G, dtype, rematerialise):
        found = compiled_for(topology, shape, G, dtype, rematerialise)
        for name, wanted in (("forward", 1), ("gradient", 3)):  # backwards one kernel for q, one for k and v
            kernels, largest, scores = found[name]
            assert kernels == wanted and largest < scores, name

    def test_the_oldest_tpus_take_the_plain_form_in_bfloat16():
        found = compiled_for("v3:2x2", (1, 1, 1), 1, "bfloat16", False)
        assert [kernels for kernels, _, _ in found.values()] == [0, 0]
