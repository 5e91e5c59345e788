"""What the TPU compiler makes of decoding, and plans: compiled ahead of time by libtpu for chips that are not here.

All tests that need libtpu are in this file. It lies in a folder of its own (.ci/tpu): beside jax it would look for a
TPU at every start. So each compilation is a process of its own, which prints what it found.
"""

import json
import os
import pathlib
import platform
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
LIBTPU = ROOT / ".venv" / "tpu"

COMPILE = """
import dataclasses, importlib, json, math, re, sys
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
prompt = 9 if beam == "1" else 512  # that beams share
workload = decode.Workload(32, int(beam), 128 if task == "wmt14" else prompt, 128, True)
device = topologies.get_topology_desc(topology, platform="tpu").devices[0]
on_chip = lambda tree: jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=SingleDeviceSharding(device)), tree
)
model = build(experiment.model)
jitted, (parameters, state) = decode.abstract(model, workload)
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
            waiting += re.findall(r"(?:to_apply|body|condition)=%?([\\w.-]+)", line)
            # What a fusion in a fusion makes is not in memory.
            waiting += re.findall(r"calls=%?([\\w.-]+)", line) if "fus" not in name else []
rows = [x for x in jax.tree.leaves((state.caches, state.prompts, state.memories)) if not int8 or x.dtype == "int8"]
smallest, widths = min(x.size for x in rows), {x.shape[-1] for x in rows}
# The logits may be laid out anew for the choice of a token; they are not a cache.
weights = [sorted(x.shape) for x in jax.tree.leaves(parameters)]
logits = workload.batch * workload.beam * experiment.model.vocabulary
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
of_state = re.compile(r"= \\S+ (?:copy|transpose|convert)\\(%state_(?:caches|prompts)(?!\\w*scales)\\w*")
begun = of_state.findall(compiled.as_text())
memory = compiled.memory_analysis()
held = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves((state.caches, state.prompts)))
found = {"loop": len(inside), "moved": moved, "begun": begun, "aliased": memory.alias_size_in_bytes, "caches": held}
print(json.dumps(found | {"temporary": memory.temp_size_in_bytes}))
"""


PREFILL = """
import importlib, json, re, sys
import jax
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from mqa_jax import config
from mqa_jax.model.build import build
from mqa_jax.timing import decode

topology, task, variant = sys.argv[1:]
experiment = config.read(importlib.import_module(task).get_config(variant))
length = 640  # a number that no other dimension is
workload = decode.Workload(8, 1, length + (task == "lm1b"), 16, True)
model = build(experiment.model)
where = SingleDeviceSharding(topologies.get_topology_desc(topology, platform="tpu").devices[0])
on_chip = lambda tree: jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), tree)
_, (parameters, _) = decode.abstract(model, workload)
source = jax.ShapeDtypeStruct((workload.batch, workload.source_length), "int32")
begin, _ = decode.programs(model, workload)
text = begin.lower(on_chip(parameters), on_chip(source)).compile().as_text()
arrays = {tuple(map(int, each.split(","))) for each in re.findall(r"\\[([\\d,]+)\\]", text)}
scores = [each for each in arrays if each.count(length) >= 2 and len(each) > 3]
print(json.dumps({"kernels": text.count("tpu_custom_call"), "scores": scores, "arrays": len(arrays)}))
"""


# Exchanges of a decode step on meshes, for `docs/design.md#what-devices-that-share-a-model-exchange`.
EXCHANGES = """
import dataclasses, importlib, json, sys
from mqa_jax import config
from mqa_jax.experiment import MeshConfig
from mqa_jax.plan import chips, steps
from mqa_jax.timing import decode

def exchanges(topology, tensor, task, variant, beam, cache):
    base = importlib.import_module(task).get_config(variant)
    base.model.decoder_layers = 1
    base.model.encoder_layers = int(task == "wmt14")
    experiment = dataclasses.replace(config.read(base), mesh=MeshConfig(tensor=tensor))
    experiment = dataclasses.replace(experiment, model=experiment.model.decoding_in(None, cache))
    there = chips.topology(topology)
    workload = decode.Workload(32 * there.size // tensor, beam, 128 if task == "wmt14" else 9, 128, True)
    step = steps.decode_step(experiment, there, workload)
    return [dataclasses.astuple(each) for each in step.program.exchanges]

print(json.dumps([exchanges(*cell) for cell in json.loads(sys.argv[1])]))
"""


def run_for_tpu(program, *arguments):
    path = os.pathsep.join([str(ROOT), str(ROOT / "configs"), str(LIBTPU)])
    environment = {**os.environ, "PYTHONPATH": path, "TPU_SKIP_MDS_QUERY": "1", "JAX_PLATFORMS": "cpu"}
    environment |= {"TPU_WORKER_HOSTNAMES": "localhost", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}  # others may compile too
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "0"
    done = subprocess.run([sys.executable, "-c", program, *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


SMALL = ["--config.model.encoder_layers=1", "--config.model.decoder_layers=1", "--config.data.rows=8"]


def plan(*arguments):
    """Exit code, what is shown, records and the last line of stderr."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(LIBTPU)])}
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "0"
    command = [sys.executable, str(ROOT / "scripts" / "plan.py"), *arguments, "--json=-"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.returncode, done.stderr, [*map(json.loads, done.stdout.splitlines())], done.stderr.splitlines()[-1:]


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
            ("v5e:2x2", "lm1b", "multi_head", 4, "bfloat16"),
        ],
    )
    def test_no_cache_is_copied_or_laid_out_anew(topology, task, variant, beam, dtype):
        """Nor made wide, where it is int8."""
        found = run_for_tpu(COMPILE, topology, task, variant, str(beam), dtype)
        assert found["loop"] > 10 and found["moved"] == []
        assert found["aliased"] >= found["caches"], "the caches are written in place"
        assert found["begun"] == [], "nor are they copied when a search begins"

    @pytest.mark.parametrize(("task", "variant"), [("lm1b", "mla"), ("wmt14", "multi_query")])
    def test_a_prompt_or_a_source_is_read_without_scores_in_memory(task, variant):
        """The fused kernel in every layer, and no array of L x L for each head."""
        found = run_for_tpu(PREFILL, "v5e:2x2", task, variant)
        assert found["kernels"] >= 5 and found["scores"] == [] and found["arrays"] > 10

    def test_a_step_exchanges_what_the_design_names_and_no_more():
        """Nothing in a replica of one device. In one of several the width's values of each token fed, behind the
        embedding, each attention and the feed-forward layer; and of each token's candidates at most score, beam and
        token."""
        alone = [("v2:2x2", 1, "lm1b", "multi_query", 1, None), ("v5e:2x4", 1, "lm1b", "multi_head", 1, None)]
        shared = [
            ("v2:2x2", 2, "lm1b", "multi_head", 1, None),
            ("v5e:2x4", 4, "wmt14", "grouped_2", 4, None),
            ("v5e:2x4", 8, "lm1b", "multi_query", 4, "int8"),
            ("v5e:2x4", 4, "lm1b", "mla", 1, None),
        ]
        first, second, *found = run_for_tpu(EXCHANGES, json.dumps([*alone, *shared]))
        assert first == second == []
        for (_, tensor, task, _, beam, _), exchanges in zip(shared, found, strict=True):
            values, fed = 32 * beam * 1024 * 2, 4 if task == "wmt14" else 3
            assert [each for each in exchanges if each[1] >= values] == [["all-reduce", values, tensor]] * fed
            small = [size for kind, size, _ in exchanges if size < values]
            assert small and sum(small) <= 4 * 3 * 32 * 2 * beam * tensor * 2

    def test_a_plan_accounts_for_memory_operations_and_exchanges(tmp_path):
        variants = "--variants=multi_head,multi_query"
        arguments = ["--config=configs/toy.py", *SMALL, "--topology=v5e:2x2", variants, f"--workdir={tmp_path}"]
        code, text, (many, one), _ = plan(*arguments)
        assert code == 0 and "no exchange between devices" in text
        for record in (many, one):
            train, decode = record["train"], record["decode"]
            weights = train["held_bytes"]["parameters"]
            assert record["fits"] and record["chips"] == record["devices"] == 4
            assert train["held_bytes"]["optimizer"] == pytest.approx(2 * weights, rel=1e-3), "Adam's two moments"
            # Data parallel: every gradient is summed over all devices once, the embedding's two in parts.
            summed = train["collectives"]["all-reduce of 4"]["bytes"]
            assert weights <= summed < 2 * weights
            assert 0.9 < train["flops"] / (4 * train["compiler_flops_per_device"]) < 1.1
            assert decode["collectives"] == {} and decode["spread_over_devices"] == 1
            assert train["floor_s"] == max(train["floor_parts_s"].values()) > 0
            assert sum(train["held_bytes"].values()) == train["held_bytes_total"]
        # A layer of 64 sentences on a device: memories of 64 and caches of 64 tokens, k and v, in bfloat16.
        assert many["decode"]["held_bytes"]["cache"] == 64 * (64 + 64) * 2 * 128 * 2
        assert one["decode"]["held_bytes"]["cache"] * 4 == many["decode"]["held_bytes"]["cache"]
        again = plan(*arguments)
        assert again[2] == [many, one], "what is planned already is read, not compiled"

    def test_cores_of_a_chip_split_a_model_under_tensor(tmp_path):
        mesh = "--config.mesh.data=-1", "--config.mesh.tensor=2"
        code, text, (record,), _ = plan("--config=configs/toy.py:grouped_2", *SMALL, *mesh, "--topology=v2:1x1")
        assert code == 0 and "1 chips of 2 cores" in text
        assert record["memory_bytes_per_device"] == 8 << 30 and record["decode"]["spread_over_devices"] == 2
        assert record["decode"]["collectives"], "the parts of each product are summed"
        assert record["train"]["floor_parts_s"]["interconnect"] == 0, "nothing leaves the chip"

    def test_what_does_not_fit_ends_with_the_change_that_does():
        large = "--config.model.feed_forward=2700000", "--config.data.rows=4", "--config.data.target_length=16"
        code, text, (record,), last = plan("--config=configs/toy.py", *SMALL, *large, "--topology=v5e:2x2", "--batch=4")
        assert code == 1 and "needs more memory than v5e:2x2" in last[0]
        assert not record["train"]["fits"] and record["decode"]["fits"]
        assert "exceeds available HBM (15.75G)" in record["train"]["reason"]
        assert record["train"]["change"] == "--config.mesh.data=-1 --config.mesh.fsdp=2"
        assert f"smallest change that fits: {record['train']['change']}" in text
