"""Plans: what is read from compiled text, and what is said of it; how many sequences fit. extra/test_tpu.py and
extra/test_gpu.py compile."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from test_config import get

from mqa_jax import config, sharding
from mqa_jax.errors import InputError
from mqa_jax.experiment import MeshConfig
from mqa_jax.plan import capacity, chips, collectives, steps
from mqa_jax.plan.collectives import Collective
from mqa_jax.report import plans, plots
from mqa_jax.timing import decode, peaks


def test_a_wrong_topology_gets_the_list():
    for name in ("v5e:3x5", "v9:2x2", "v4:2x2", "v5e", "h100:8", "h100:2x2"):
        with pytest.raises(InputError, match=r"v2:1x1\|2x2.*v4:1x1x1.*v6e:.*16x16.*h100:1x1x1\|1x1x2.*b200:"):
            chips.topology(name)


def test_what_is_published_of_a_gpu_is_known_to_plans_and_to_timings(monkeypatch):
    assert {chip.gpu.name for chip in chips.CHIPS.values() if chip.gpu} == peaks.PUBLISHED.keys()
    assert peaks.published() == {}
    monkeypatch.setitem(peaks.PUBLISHED, jax.devices()[0].device_kind, (3e12, 9e14))
    assert peaks.published() == {"published_bytes_per_s": 3e12, "published_bfloat16_flops_per_s": 9e14}
    text = chips.CHIPS["h100"].gpu.target(80, 3.35e12)
    for line in ("core_count: 132", "memory_bandwidth: 3350000000000", "device_memory_size: 80", "major: 9 minor: 0"):
        assert line in text


def test_exchanges_are_read_from_compiled_text():
    """Collectives that are known beforehand, in the text of this machine's own compiler."""
    mesh = sharding.make_mesh(MeshConfig(2, 4, 1))

    def step(x, w):
        gathered = jax.lax.with_sharding_constraint(w, NamedSharding(mesh, PartitionSpec()))
        return (x @ gathered).sum()

    x = jax.ShapeDtypeStruct((8, 16), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec("data")))
    w = jax.ShapeDtypeStruct((16, 32), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec(None, "fsdp")))
    text = jax.jit(step).lower(x, w).compile().as_text()
    found = collectives.collectives(text, 8)
    assert Collective("all-gather", 16 * 32 * 4, 4) in found
    assert [each for each in found if each.kind == "all-reduce"] == [Collective("all-reduce", 4, 2)]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("replica_groups=mesh['data'=4,'tensor'=2] {'data'}, x=1", Collective("all-reduce", 96, 4)),
        ("replica_groups=mesh['axis_0'=8] {'axis_0':(1)2}", Collective("all-reduce", 96, 2)),
        ("replica_groups=[2,4]<=[8], to_apply=%add", Collective("all-reduce", 96, 4)),
        ("replica_groups={{0,1},{2,3}}, to_apply=%add", Collective("all-reduce", 96, 2)),
        ("replica_groups={}, to_apply=%add", Collective("all-reduce", 96, 8)),
    ],
)
def test_groups_in_every_notation(line, wanted):
    operation = f"  %r.1 = (f32[4,4]{{1,0:T(8,128)S(1)}}, bf16[16]{{0}}) all-reduce(%a, %b), channel_id=1, {line}"
    assert collectives.collectives(operation, 8) == [wanted]


def test_loops_are_multiplied_out_and_no_exchange_is_counted_twice():
    text = """\
%counts (p: (s32[])) -> pred[] {
  %limit.1 = s32[]{:T(128)} constant(3)
  ROOT %c = pred[]{:T(512)} compare(%i, %limit.1), direction=LT
}

%body (p: (s32[])) -> (s32[]) {
  %r = f32[4]{0} all-reduce(%x), channel_id=1, replica_groups={}, to_apply=%add
}

%start (p: f32[8]) -> f32[8] {
  %g = f32[8]{0} all-gather(%p), channel_id=2, replica_groups={}
}

%end (p: f32[8]) -> f32[8] {
  %h = f32[8]{0} all-gather(%p), channel_id=2, replica_groups={}
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %w = (s32[]) while(%t), condition=%counts, body=%body, metadata={}
  %s = f32[8]{0} fusion(%p), kind=kCustom, calls=%start
  %e = f32[8]{0} fusion(%s), kind=kCustom, calls=%end
}
"""
    reduced, gathered = Collective("all-reduce", 16, 8), Collective("all-gather", 32, 8)
    assert collectives.collectives(text, 8) == 3 * [reduced] + [gathered]
    assert collectives.collectives_of_a_pass(text, 8) == [reduced]


def test_what_must_leave_a_chip():
    assert Collective("all-reduce", 100, 4).sent(1) == 150
    assert Collective("all-gather", 100, 4).sent(2) == 50
    assert Collective("all-reduce", 100, 2).sent(2) == 0


def test_rows_that_the_mesh_cannot_share_are_refused():
    mesh = sharding.make_mesh(MeshConfig(4, 2, 1))
    sharding.check_rows(16, mesh)
    with pytest.raises(InputError, match="12 rows cannot be shared by 8 devices"):
        sharding.check_rows(12, mesh)


class Here(chips.Topology):
    """The devices of the tests as those of another machine."""

    @property
    def devices(self):
        return tuple(jax.devices())


def test_steps_are_planned_with_this_machines_own_compiler():
    """Four groups of two, on both of whose devices the cache of one write head lies whole."""
    base = get("toy", "multi_query")
    base.model.update(encoder_layers=1, decoder_layers=1)
    experiment = dataclasses.replace(config.read(base), mesh=MeshConfig(-1, 2, 2))
    workload, chip = decode.Workload(64, 1, 16, 16, True), chips.CHIPS["v5e"]
    for of in (steps.prefill_step, steps.decode_step):
        step = of(experiment, Here("here", chip, 8), workload)
        assert step.fits and step.devices == 2 and step.flops > 0
        assert step.program.inputs["cache"] == 16 * (16 + 16) * 2 * 32 * 2
        assert ("sources" in step.program.inputs) == (of is steps.prefill_step)
        assert {(each.kind, each.devices) for each in step.program.exchanges} >= {("all-reduce", 2)}
        assert step.floor_s == max(step.floor_parts_s["interconnect"], step.floor_parts_s["operations and memory"])
    alone, taught = (steps.train_step(experiment, Here("here", chip, 8), of) for of in (None, experiment.model))
    assert taught.flops == pytest.approx(alone.flops * 4 / 3)
    assert taught.program.inputs["teacher"] == pytest.approx(alone.program.inputs["parameters"] / 2)
    assert "teacher" not in alone.program.inputs
    tiny = Here("tiny", dataclasses.replace(chip, memory_bytes=2**19), 8)
    step = steps.decode_step(experiment, tiny, workload)
    assert not step.fits and step.program.reason.startswith("needs ") and "temporaries" in step.program.inputs


def test_the_table_gives_the_papers_times_to_the_papers_model():
    step = {"fits": True, "held_bytes_total": 2**30, "floor_us_per_token": 1.5, "held_bytes": {"cache": 2**20}}
    step["floor_s"] = 0.0216  # of which there are 100,000
    rows = {"rows": 128, "source_length": 128, "target_length": 128, "batch": 1024, "beam": 1}
    step |= rows | {"encoder_floor_us_per_token": 0.5}
    record = {"name": "wmt14", "topology": "v2:2x2", "chips": 4, "devices": 8, "fits": True}
    record |= {"train": step, "decode": step, "variant": "multi_query"}
    record["config"] = dataclasses.asdict(config.read(get("wmt14", "multi_query")))
    (row,) = plans.table([record]).rows
    assert row == (
        "multi_query",
        "yes",
        "1.00 GiB",
        "1.00 GiB",
        "1.00 MiB",
        "1.50",
        "13.0",
        "0.600",  # hours
        "0.500",
        "1.5",
        "1.50",
        "3.8",
    )
    record["name"] = "toy"
    assert "13.0" not in plans.table([record]).rows[0]


def capacities(*variants, topology="h100:1x1x1", context=32_768, latency_ms=50.0, task="lm1b", tensor=1):
    found = []
    for variant in variants:
        base = get(task, variant)
        base.mesh.tensor = tensor
        found.append(capacity.capacity(config.read(base), chips.topology(topology), context, latency_ms))
    return found


def test_capacity_is_what_memory_holds_beside_the_weights():
    """multi_query of lm1b: 6 layers of 2 x 128 numbers a token; logits and the scores of a layer are float32."""
    many, one = capacities("multi_head", "multi_query")
    kept, weights = 6 * 2 * 128 * 2 * 32_768, one["caches"]["bfloat16"]["weight_bytes_per_device"]
    assert one["caches"]["bfloat16"]["bytes_per_sequence"] == kept
    assert one["caches"]["int8"]["bytes_per_sequence"] == 6 * 2 * (128 + 4) * 32_768
    most = one["caches"]["bfloat16"]["at_most"]
    assert (
        most["sequences"] == (84_942_979_072 - weights) // (kept + 4 * 32_000 + 4 * 8 * 32_768)
        and most["limit"] == "cache"
    )
    assert 7.9 < most["sequences"] / many["caches"]["bfloat16"]["at_most"]["sequences"] < 8.1
    assert most["tokens_per_s"] == pytest.approx(1e3 * most["sequences"] / most["ms_per_token"])


def test_capacity_within_a_latency_and_what_limits_it():
    (loose,), (tight,), (none,) = (capacities("multi_query", latency_ms=ms) for ms in (50.0, 5.0, 1e-3))
    found = [each["caches"]["bfloat16"] for each in (loose, tight, none)]
    assert found[0]["within_latency"] == found[0]["at_most"]
    within = found[1]["within_latency"]
    assert 0 < within["sequences"] < found[1]["at_most"]["sequences"] and 4.9 < within["ms_per_token"] <= 5.0
    assert found[2]["within_latency"]["sequences"] == found[2]["within_latency"]["tokens_per_s"] == 0
    short, alone = capacities("multi_query_local"), capacities("multi_query", context=64, latency_ms=0.1)
    assert short[0]["caches"]["bfloat16"]["at_most"]["limit"] == "operations"
    assert alone[0]["caches"]["bfloat16"]["within_latency"]["limit"] == "weights"


def test_capacity_of_devices_that_share_a_model():
    """Two replicas hold twice as many. A write head that is not split lies on every device of a group."""
    (one,), (two,) = (capacities("multi_head", topology=f"h100:1x1x{n}") for n in (1, 2))
    first, second = (each["caches"]["bfloat16"]["at_most"] for each in (one, two))
    assert second["sequences"] == 2 * first["sequences"] and second["ms_per_token"] == first["ms_per_token"]
    many, query = (
        each["caches"]["bfloat16"] for each in capacities("multi_head", "multi_query", topology="h100:1x1x8", tensor=8)
    )
    assert many["at_most"]["sequences"] == pytest.approx(query["at_most"]["sequences"], rel=0.01)
    with pytest.raises(InputError, match=r"config\.mesh\.tensor=3 does not divide the 8 devices"):
        capacities("multi_head", topology="h100:1x1x8", tensor=3)


def test_capacity_too_large_for_the_weights_is_none():
    (found,) = capacities("multi_head", topology="v5e:1x1", context=2**24)
    assert found["caches"]["int8"]["at_most"]["sequences"] == 0 and found["caches"]["int8"]["curve"] == []


def test_capacity_is_a_table_and_a_picture():
    found = capacities("multi_head", "multi_query")
    table = plans.capacities(found)
    assert [row[:2] for row in table.rows] == [
        (variant, cache) for variant in ("multi_head", "multi_query") for cache in ("bfloat16", "int8")
    ]
    assert "384 MiB" not in str(table.rows) and "768 MiB" in str(table.rows) and "96.0 MiB" in str(table.rows)
    drawn = plots.svg(plans.curves(found))
    assert all(f">{name}<" in drawn for name in ("multi_head", "multi_query"))
    assert re.search("time of a token", drawn)
