"""Plans: what is read from compiled text, and what is said of it. extra/test_tpu.py compiles for TPUs."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from test_config import get

from mqa_jax import config, sharding
from mqa_jax.errors import InputError
from mqa_jax.experiment import MeshConfig
from mqa_jax.plan import chips, collectives
from mqa_jax.plan.collectives import Collective
from mqa_jax.report import plans


def test_a_wrong_topology_gets_the_list():
    for name in ("v5e:3x5", "v9:2x2", "v4:2x2", "v5e"):
        with pytest.raises(InputError, match=r"v2:1x1\|2x2.*v4:1x1x1.*v6e:.*16x16"):
            chips.topology(name)


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


def test_the_table_gives_the_papers_times_to_the_papers_model():
    step = {"fits": True, "held_bytes_total": 2**30, "floor_us_per_token": 1.5, "held_bytes": {"cache": 2**20}}
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
        "0.500",
        "1.5",
        "1.50",
        "3.8",
    )
    record["name"] = "toy"
    assert "13.0" not in plans.table([record]).rows[0]
