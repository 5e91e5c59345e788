"""What the TPU compiler makes of decoding: compiled ahead of time by libtpu for chips that are not here.

libtpu lies in a folder of its own (.ci/tpu): beside jax it would look for a TPU at every start. So each
compilation is a process of its own, which prints what it found.
"""

import json
import os
import pathlib
import platform
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
LIBTPU = ROOT / ".venv" / "tpu"

COMPILE = """
import dataclasses, functools, importlib, json, math, re, sys
import jax
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from mqa_jax import config
from mqa_jax.model.build import build
from mqa_jax.timing import decode

topology, task, variant, beam, dtype = sys.argv[1:]
module = importlib.import_module(task)
experiment = config.read(module.get_config(variant))
int8 = dtype == "int8"
if int8:
    experiment = dataclasses.replace(experiment, model=experiment.model.decoding_in("int8", "int8"))
shape = decode.Shape(32, int(beam), 128 if task == "wmt14" else 9, 128, True)
device = topologies.get_topology_desc(topology, platform="tpu").devices[0]
on_chip = lambda tree: jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=SingleDeviceSharding(device)), tree
)
model = build(experiment.model)
parameters = jax.eval_shape(lambda: decode._random_parameters(model))
source = jax.ShapeDtypeStruct((shape.batch, shape.source_length), "int32")
state = jax.eval_shape(functools.partial(decode._begin, model, shape), parameters, source)
parameters = jax.eval_shape(model.lay_out, parameters)
jitted = jax.jit(functools.partial(decode._decode, model, shape), donate_argnums=1)
compiled = jitted.lower(on_chip(parameters), on_chip(state)).compile()
bodies, name = {}, None
for line in compiled.as_text().splitlines():
    if line[:1] not in ("", " ", "}") and line.endswith("{"):
        name = re.match(r"(?:ENTRY )?%?([\\w.-]+)", line)[1]
    bodies.setdefault(name, []).append(line)
inside, waiting = set(), re.findall(r"body=%?([\\w.-]+)", compiled.as_text())
while waiting:
    name = waiting.pop()
    if name in bodies and name not in inside:
        inside.add(name)
        for line in bodies[name]:
            waiting += re.findall(r"(?:calls|to_apply|body|condition)=%?([\\w.-]+)", line)
rows = [x for x in jax.tree.leaves((state.caches, state.memories)) if not int8 or x.dtype == "int8"]
smallest, widths = min(x.size for x in rows), {x.shape[-1] for x in rows}
# The logits may be laid out anew for the choice of a token; they are not a cache.
weights = [sorted(x.shape) for x in jax.tree.leaves(parameters)]
logits = shape.batch * shape.beam * experiment.model.vocabulary
move = re.compile(r"= (\\w+)\\[([\\d,]+)\\]\\S* (copy|transpose|convert|copy-start)\\(")
moved = []
for name in inside:
    for kind, shape_of, operation in move.findall("\\n".join(bodies[name])):
        sizes = list(map(int, shape_of.split(",")))
        if operation == "convert" and (kind != "f32" and not int8 or sizes[-1] not in widths):
            continue  # of activations, on their way from one product to the next
        if sorted(sizes) in weights:
            continue  # fetched ahead into the chip's own memory, not laid out anew
        if math.prod(sizes) >= smallest and math.prod(sizes) not in (logits, 2 * logits):
            moved.append(f"{operation} {kind}[{shape_of}]")
memory = compiled.memory_analysis()
held = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state.caches))
found = {"loop": len(inside), "moved": moved, "aliased": memory.alias_size_in_bytes, "caches": held}
print(json.dumps(found | {"temporary": memory.temp_size_in_bytes}))
"""


PREFILL = """
import functools, importlib, json, re, sys
import jax
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from mqa_jax import config
from mqa_jax.model.build import build
from mqa_jax.timing import decode

topology, task, variant = sys.argv[1:]
experiment = config.read(importlib.import_module(task).get_config(variant))
length = 640  # a number that no other dimension is
shape = decode.Shape(8, 1, length + (task == "lm1b"), 16, True)
model = build(experiment.model)
where = SingleDeviceSharding(topologies.get_topology_desc(topology, platform="tpu").devices[0])
on_chip = lambda tree: jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), tree)
parameters = jax.eval_shape(model.lay_out, jax.eval_shape(lambda: decode._random_parameters(model)))
source = jax.ShapeDtypeStruct((shape.batch, shape.source_length), "int32")
begin = jax.jit(functools.partial(decode._begin, model, shape))
text = begin.lower(on_chip(parameters), on_chip(source)).compile().as_text()
arrays = {tuple(map(int, each.split(","))) for each in re.findall(r"\\[([\\d,]+)\\]", text)}
scores = [each for each in arrays if each.count(length) >= 2 and len(each) > 3]
print(json.dumps({"kernels": text.count("tpu_custom_call"), "scores": scores, "arrays": len(arrays)}))
"""


def run_for_tpu(program, *arguments):
    path = os.pathsep.join([str(ROOT), str(ROOT / "configs"), str(LIBTPU)])
    environment = {**os.environ, "PYTHONPATH": path, "TPU_SKIP_MDS_QUERY": "1", "JAX_PLATFORMS": "cpu"}
    environment |= {"TPU_WORKER_HOSTNAMES": "localhost", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}  # others may compile too
    done = subprocess.run([sys.executable, "-c", program, *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


if sys.platform == "linux" and platform.machine() == "x86_64":  # what libtpu is built for

    @pytest.mark.parametrize(
        ("topology", "task", "variant", "beam", "dtype"),
        [
            ("v2:2x2", "wmt14", "multi_head", 1, "bfloat16"),
            ("v5e:2x2", "wmt14", "multi_head", 4, "bfloat16"),
            ("v6e:2x2", "wmt14", "multi_query", 4, "bfloat16"),
            ("v5e:2x2", "wmt14", "grouped_2", 1, "bfloat16"),
            ("v6e:2x2", "lm1b", "multi_query_sinks", 1, "bfloat16"),
            ("v5e:2x2", "wmt14", "mla", 4, "bfloat16"),
            ("v5e:2x2", "lm1b", "multi_query", 4, "int8"),
        ],
    )
    def test_no_cache_is_copied_or_laid_out_anew(topology, task, variant, beam, dtype):
        """Nor made wide, where it is int8."""
        found = run_for_tpu(COMPILE, topology, task, variant, str(beam), dtype)
        assert found["loop"] > 10 and found["moved"] == []
        assert found["aliased"] >= found["caches"], "the caches are written in place"

    @pytest.mark.parametrize(("task", "variant"), [("lm1b", "mla"), ("wmt14", "multi_query")])
    def test_a_prompt_or_a_source_is_read_without_scores_in_memory(task, variant):
        """The fused kernel in every layer, and no array of L x L for each head."""
        found = run_for_tpu(PREFILL, "v5e:2x2", task, variant)
        assert found["kernels"] >= 5 and found["scores"] == [] and found["arrays"] > 10
