"""Plans: real steps compiled for TPUs that are not here, by the script, and what is read from the compiled text.

Each script is a process of its own, with libtpu on its path, as in test_tpu.py.
"""

import dataclasses
import json
import os
import platform
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from test_config import get
from test_tpu import LIBTPU, ROOT

from mqa_jax import config, sharding
from mqa_jax.errors import InputError
from mqa_jax.experiment import MeshConfig
from mqa_jax.plan import chips, collectives
from mqa_jax.plan.collectives import Collective
from mqa_jax.report import plans

SMALL = ["--config.model.encoder_layers=1", "--config.model.decoder_layers=1", "--config.data.rows=8"]


def plan(*arguments):
    """Exit code, printed lines, records and the last line of stderr."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(LIBTPU)])}
    command = [sys.executable, str(ROOT / "scripts" / "plan.py"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{")]
    return done.returncode, done.stdout, records, done.stderr.splitlines()[-1:]


if sys.platform == "linux" and platform.machine() == "x86_64":  # what libtpu is built for

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
        assert one["decode"]["held_bytes"]["cache"] * 8 == many["decode"]["held_bytes"]["cache"]
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
        "1.50",
        "1.50",
        "3.80",
    )
    record["name"] = "toy"
    assert plans.table([record]).rows[0][6] == "–"
