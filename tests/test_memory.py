"""What work needs at least, against what its compiled program takes; and what there is."""

import dataclasses
import os
import re

import jax
import pytest
from test_config import every_variant, get

from mqa_jax import config, sharding
from mqa_jax.errors import InputError
from mqa_jax.model.build import build
from mqa_jax.timing import decode, memory, train


def test_decoding_needs_all_weights_and_the_largest_caches_and_logits():
    of = every_variant("wmt14")
    weights, cached = 211_058_688 * 2, 6 * 512 * 2 * 8 * 128 * 2
    models = [of["multi_query"].model, of["multi_head"].model]
    encoder = 8 * 512 * 512 * 4  # a CPU's attention weights of one sentence
    caches, logits = 256 * (4 + 1) * cached, 256 * 4 * 33_792 * 4
    assert memory.decoding(models, 256, 4, 512, 512) == 2 * weights + caches + logits + encoder
    assert decode.Workload(256, 4, 512, 512, True).memory(models) == memory.decoding(models, 256, 4, 512, 512)


def test_accelerators_that_share_a_model_hold_a_part_each(monkeypatch):
    """Two groups of four; the rows of a single write head are on all four."""
    monkeypatch.setattr(memory, "_on_cpu", lambda: False)
    weights, cached, logits = 211_058_688 * 2, 6 * 512 * 2 * 128 * 2, 128 * 4 * 33_792 * 4
    for variant, kept in (("multi_query", cached), ("multi_head", 8 * cached // 4)):
        needed = memory.decoding([every_variant("wmt14")[variant].model], 256, 4, 512, 512, tensor=4)
        assert needed == weights // 4 + 128 * (4 + 1) * kept + logits // 4


@pytest.mark.parametrize(("name", "beam"), [("toy", 1), ("toy", 4), ("text_lm", 2)])
def test_decoding_takes_what_it_needs_and_little_more(name, beam):
    """Compiled and not run: wide caches of long outputs, whose size is most of it."""
    experiment = every_variant(name)["multi_head"]
    workload = decode.Workload(16, beam, 64, 512, True, steps=2)
    model = build(workload.fitted(experiment.model))
    program, arguments = decode.abstract(model, workload)
    taken = program.lower(*arguments).compile().memory_analysis()
    needed = workload.memory([model.config])
    assert needed < taken.argument_size_in_bytes + taken.temp_size_in_bytes < 3 * needed


@pytest.mark.parametrize(("name", "optimizer", "anew"), [("toy", "adamw", False), ("text_lm", "adafactor", True)])
def test_a_training_step_takes_what_it_needs_and_a_few_times_as_much(name, optimizer, anew, monkeypatch):
    base = get(name)
    base.train.update(optimizer=optimizer, rematerialise=anew)
    experiment = config.read(base)
    mesh = sharding.make_mesh(experiment.mesh, jax.devices()[:1])
    monkeypatch.setattr(sharding, "make_mesh", lambda _: mesh)
    source = 64 if name == "toy" else 0
    figures = train.TimedTraining(experiment, train.Workload(64, source, 64)).memory_mb()
    needed = memory.training(experiment, mesh, 64, source, 64) / 2**20
    assert needed < sum(figures.values()) < 6 * needed


def test_what_is_too_large_is_refused_with_what_would_fit(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 10 * memory.GIB)
    need = lambda size: (3 + size) * memory.GIB  # noqa: E731
    memory.check("--batch", 7, need)
    words = "--batch=8 needs 11.0 GiB of memory, of 10.0 GiB; --batch=7 may fit, no more"
    with pytest.raises(InputError, match=f"^{re.escape(words)}$"):
        memory.check("--batch", 8, need)
    with pytest.raises(InputError, match=r"--batch=7 may fit"):
        memory.check("--batch", 10**30, need)
    with pytest.raises(InputError, match="not even --batch=1 fits; take fewer beams, shorter rows or a smaller model"):
        memory.check("--batch", 2, lambda size: (10 + size) * memory.GIB)


def test_several_devices_share_what_a_step_needs(monkeypatch):
    """On a CPU they have one memory. Copies of the state count, and each accelerator has its part."""
    experiment = config.read(get("toy"))

    def need(**axes):
        mesh = sharding.make_mesh(dataclasses.replace(experiment.mesh, **axes))
        return memory.training(experiment, mesh, 16, 64, 64)

    one = memory.training(experiment, sharding.make_mesh(experiment.mesh, jax.devices()[:1]), 16, 64, 64)
    state = 4 * 4 * memory.cost.parameters_by_part(experiment.model)["total"]
    assert need(data=1, fsdp=8) == pytest.approx(one, rel=1e-4)
    assert need(data=8) == pytest.approx(one + 7 * state, rel=1e-4)
    mesh, teacher = sharding.make_mesh(dataclasses.replace(experiment.mesh, data=8)), experiment.model
    taught = memory.training(experiment, mesh, 16, 64, 64, teacher)
    assert taught == need(data=8) + 8 * state / 4 / 2, "in bfloat16, a copy each"
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert state / 8 < need(data=1, fsdp=8) < one / 8 and need(data=8) > state


@pytest.mark.parametrize(
    ("group", "files", "limit"),
    [
        ("0::/jobs/mine\n", {"jobs/memory.max": "500\n", "jobs/mine/memory.max": "max\n"}, 500),
        ("0::/jobs/mine\n", {"memory.max": "700\n", "jobs/mine/memory.max": "600\n"}, 600),
        ("5:cpu:/a\n4:memory:/hidden\n", {"memory/memory.limit_in_bytes": "800\n", "memory.max": "1\n"}, 800),
        ("0::/\n", {}, None),
        (None, {}, None),
    ],
)
def test_a_control_groups_limit_is_what_there_is(tmp_path, monkeypatch, group, files, limit):
    for name, content in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(content)
    if group is not None:
        (tmp_path / "cgroup").write_text(group)
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "OWN_GROUP", tmp_path / "cgroup")
    assert memory.available() == (limit or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def test_lines_to_translate_are_counted_with_their_beams(monkeypatch):
    experiment = every_variant("toy")["multi_head"]
    of = build(experiment.model)
    monkeypatch.setattr(memory, "available", lambda: memory.GIB)
    large = dataclasses.replace(experiment.decode, batch=10**8)
    memory.check_generating("--batch", of, large, lines=3)
    with pytest.raises(InputError, match=r"--batch=100000000 needs .*; --batch=\d+ may fit"):
        memory.check_generating("--batch", of, large, lines=10**8)
    with pytest.raises(InputError, match=r"--beam=128 needs .*; --beam=\d+ may fit"):
        memory.check_generating("--beam", of, dataclasses.replace(large, batch=2000, beam=128), 2000)
