"""What the GPU compiler makes of decoding, prompts and plans: compiled ahead of time for GPUs that are not here.

It lies in a folder of its own (.ci/gpu) and needs JAX 0.12; without them conftest.py leaves this file out and says so.
Models are as wide as in the configs, and one or two layers deep.
"""

import dataclasses
import math
import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import SingleDeviceSharding
from test_config import get

from mqa_jax import config, sharding
from mqa_jax.attention import registry
from mqa_jax.batch import Batch, Rows
from mqa_jax.experiment import MeshConfig
from mqa_jax.kernels import fused
from mqa_jax.model.build import build
from mqa_jax.plan import capacity, chips, gpus, plan, steps
from mqa_jax.plan.collectives import computations
from mqa_jax.report import plans
from mqa_jax.timing import decode

BATCH = 32
CELLS = [
    ("h100", "wmt14", "multi_head", 1, "bfloat16"),
    ("b200", "wmt14", "multi_query", 1, "bfloat16"),
    ("a100", "wmt14", "grouped_2", 1, "bfloat16"),
    ("h200", "lm1b", "multi_query_sinks", 1, "bfloat16"),
    ("h100", "wmt14", "mla", 4, "bfloat16"),
    ("h100", "lm1b", "multi_query", 4, "int8"),
]
TARGET = 2048  # long enough that a cache is larger than all else in a step but the logits
WIDE = 2**16  # elements, above which an operand of a product is no table of positions


@pytest.fixture(scope="module", autouse=True)
def compiler():
    """The GPU compiler at its full optimisation, and JAX as it was before."""
    gpus_of_jax = vars(gpus.fused_attention_stablehlo)
    before = {name: gpus_of_jax[name] for name in ("cuda_versions", "check_compute_capability")}
    jax.config.update("jax_disable_most_optimizations", False)
    fused._cudnn_is_there.cache_clear()
    assert chips.topology("h100:1x1x1").devices  # what JAX asks of this machine has an answer from here on
    yield
    gpus_of_jax.update(before)
    fused._cudnn_is_there.cache_clear()
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_enable_compilation_cache", True)
    gpus.compilation_cache.reset_cache()


def shallow(task, variant, dtype="bfloat16", layers=1):
    """A config's model, few layers deep; where it has windows, they are long."""
    experiment = config.read(get(task, variant))

    def stack(of):
        longer = tuple(dataclasses.replace(each, window=each.window and TARGET - each.sinks) for each in of.attention)
        return dataclasses.replace(of, layers=layers, attention=longer)

    model = experiment.model
    model = dataclasses.replace(model, decoder=stack(model.decoder), encoder=model.encoder and stack(model.encoder))
    return dataclasses.replace(experiment, model=model.decoding_in("int8", "int8") if dtype == "int8" else model)


def on(device):
    """Puts shapes on a device."""
    where = SingleDeviceSharding(device)
    return lambda tree: jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), tree)


def sizes(line):
    """The elements of what an instruction makes; several of a tuple."""
    kind = line.split(" = ", 1)[1]
    kind = kind[: kind.index(")") + 1] if kind.startswith("(") else kind.split(" ", 1)[0]
    return [math.prod(map(int, filter(None, each.split(",")))) for each in re.findall(r"\[([\d,]*)\]", kind)]


def written_in_loop(text):
    """(elements, instruction) of each array that a step of the outermost loop writes: a fusion writes its results."""
    bodies = computations(text)
    (body,) = [name for name in re.findall(r"body=%?([\w.-]+)", text) if name in bodies][:1]
    found = []
    for line in bodies[body]:
        instruction = re.search(r" ([a-z][\w-]*)\(", line.split(" = ", 1)[-1])
        if not instruction or instruction[1] in ("parameter", "get-tuple-element", "tuple", "bitcast", "while"):
            continue
        called = re.search(r"calls=%?([\w.-]+)", line)
        in_place = any("dynamic-update-slice(" in each for each in bodies[called[1]]) if called else False
        if not in_place:
            found += [(size, line.strip()[:160]) for size in sizes(line)]
    return found


def wide_products(text):
    """The products of wide operands that are not of bfloat16 or int8, which tensor cores would do slowly if at all."""
    found, seen = [], 0
    for lines in computations(text).values():
        types = {m[1]: m[2] for line in lines if (m := re.match(r"\s*(?:ROOT )?(%[\w.-]+) = (\w+)\[", line))}
        types |= {f"%{name}": kind for name, kind in re.findall(r"([\w.-]+): (\w+)\[", lines[0])}
        for line in lines:
            product = re.search(r" dot\((%[\w.-]+), (%[\w.-]+)\)", line)
            if product and max(sizes(line)) >= WIDE:
                seen += 1
                if not {types[product[1]], types[product[2]]} <= {"bf16", "s8"}:
                    found.append(line.strip()[:160])
    assert seen > 1
    return found


def test_all_types_are_compiled():
    named = {each.name for _, task, variant, *_ in CELLS for each in shallow(task, variant).model.decoder.attention}
    assert named == registry.TYPES.keys()


@pytest.mark.parametrize(("gpu", "task", "variant", "beam", "dtype"), CELLS)
def test_no_cache_is_copied_or_laid_out_anew(gpu, task, variant, beam, dtype):
    """Nor made wide, where it is int8: a step writes nothing as large as a layer's cache, but into the cache."""
    experiment = shallow(task, variant, dtype)
    prompt = 9 if beam == 1 else TARGET  # that beams share
    workload = decode.Workload(BATCH, beam, TARGET if task == "wmt14" else prompt, TARGET, True)
    jitted, (parameters, state) = decode.abstract(build(workload.fitted(experiment.model)), workload)
    compiled = jitted.lower(*on(chips.topology(f"{gpu}:1x1x1").devices[0])((parameters, state))).compile()
    caches = jax.tree.leaves((state.caches, state.memories))
    smallest = min(x.size for x in caches if x.dtype in (jnp.bfloat16, jnp.int8))
    text = compiled.as_text()
    written = written_in_loop(text)
    logits = BATCH * beam * experiment.model.vocabulary
    assert len(written) > 10
    assert [line for size, line in written if size >= smallest and size not in (logits, 2 * logits)] == []
    memory = compiled.memory_analysis()
    held = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state.caches))
    assert memory.alias_size_in_bytes >= held, "the caches are written in place"
    assert wide_products(text) == []


@pytest.mark.parametrize(("gpu", "task", "variant"), [("h100", "lm1b", "mla"), ("a100", "wmt14", "multi_query")])
def test_prompts_sources_and_scoring_keep_no_scores_in_memory(gpu, task, variant):
    """cuDNN's kernel in every layer, and no array of L x L for each head, forwards and backwards."""
    length, rows = 640, 8  # a number that no other dimension is
    experiment = shallow(task, variant, layers=2)
    workload = decode.Workload(rows, 1, length + (task == "lm1b"), 16, True)
    model = build(
        workload.fitted(experiment.model), sharding.make_mesh(MeshConfig(), chips.topology(f"{gpu}:1x1x1").devices)
    )
    put = on(model.mesh.devices.flat[0])
    _, (laid_out, _) = decode.abstract(model, workload)
    begin, _ = decode.programs(model, workload)
    source = jax.ShapeDtypeStruct((rows, workload.source_length), "int32")
    each = Rows(*[jax.ShapeDtypeStruct((rows, length), "int32")] * 3)
    batch = Batch(each, each.tokens_BL, each if experiment.model.encoder else None)

    def score(parameters, batch):
        x_BLD = model.bind(parameters)(batch, None)
        return x_BLD.astype(jnp.float32).mean()

    programs = {
        "prefill": (begin, (laid_out, source), 1),
        "scoring": (jax.jit(score), (model.shapes(), batch), 2),
        "gradient": (jax.jit(jax.grad(score)), (model.shapes(), batch), 4),
    }
    if experiment.model.encoder:
        del programs["gradient"]  # as that of a language model, and it takes the compiler longest
    for name, (program, arguments, kernels) in programs.items():
        text = program.lower(*put(arguments)).compile().as_text()
        arrays = {tuple(map(int, each.split(","))) for each in re.findall(r"\[([\d,]+)\]", text)}
        scores = [each for each in arrays if each.count(length) >= 2 and math.prod(each) > rows * length * length]
        assert scores == [] and len(arrays) > 10, name
        assert text.count('custom_call_target="__cudnn$fmha') >= kernels, name


def small(task, variant, **changes):
    base = get(task, variant)
    base.model.update(encoder_layers=int(task == "toy"), decoder_layers=1)
    base.data.rows = 16
    experiment = config.read(base)
    return dataclasses.replace(experiment, **changes)


def test_a_plan_of_gpus_has_prefill_and_exchanges():
    experiment = small("toy", "multi_query")
    record = plan.plan(experiment, chips.topology("h100:1x1x4"), decode.Workload(256, 1, 64, 64, True))
    train, prefill, step = (record[name] for name in ("train", "prefill", "decode"))
    weights = train["held_bytes"]["parameters"]
    assert record["fits"] and record["devices"] == 4
    assert weights <= train["collectives"]["all-reduce of 4"]["bytes"] < 3 * weights, (
        "each, and the embedding's in parts"
    )
    assert prefill["held_bytes"]["cache"] == step["held_bytes"]["cache"] == 64 * (64 + 64) * 2 * 32 * 2
    assert prefill["held_bytes"]["layout padding"] < 2**16 and prefill["collectives"] == {} == step["collectives"]
    text = "\n".join(plans.lines(record))
    assert "prefill, 256 sources of 64 tokens, 4 x 1 devices" in text and "the compiler counts" not in text


def test_two_hosts_share_a_model():
    experiment = small("text_lm", "grouped_2", mesh=MeshConfig(-1, 8, 1))
    step = steps.train_step(experiment, chips.topology("a100:1x2x8"))
    kinds = {(each.kind, each.devices) for each in step.program.exchanges}
    assert ("all-gather", 8) in kinds and step.devices == 16 and step.floor_parts_s["interconnect"] > 0


def test_what_does_not_fit_says_by_how_much():
    """A GPU's compiler makes a program of any size."""
    step = steps.decode_step(
        small("text_lm", "multi_head"), chips.topology("a100:1x1x1"), decode.Workload(2**20, 1, 2, 127, True)
    )
    assert not step.fits and re.fullmatch(r"needs \d{3}\.\d\d GiB a device, of 79\.26 GiB", step.program.reason)


@pytest.mark.parametrize(
    ("topology", "variant", "cache"),
    [
        ("h100:1x1x1", "multi_head", "bfloat16"),
        ("h100:1x1x1", "multi_query", "bfloat16"),
        ("a100:1x1x1", "multi_query", "int8"),
        ("h200:1x1x1", "mla", "bfloat16"),
        ("b200:1x1x1", "grouped_2", "int8"),
    ],
)
def test_the_sequences_of_a_capacity_plan_fill_the_memory(topology, variant, cache):
    """The arithmetic against XLA's account of the step that decodes so many."""
    experiment, there = shallow("lm1b", variant), chips.topology(topology)
    found = capacity.capacity(experiment, there, TARGET, 50.0)["caches"][cache]["at_most"]["sequences"]
    experiment = dataclasses.replace(experiment, model=experiment.model.decoding_in(None, cache))
    step = steps.decode_step(experiment, there, decode.Workload(found, 1, 2, TARGET - 1, True))
    held = sum((step.program.inputs | step.program.others).values())
    assert 0.85 < held / there.memory_bytes < 1.03
