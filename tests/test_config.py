"""Configs: budgets by rule, variants by name, and one clear line for what is wrong."""

import collections
import dataclasses
import functools
import json
import pathlib
import re

import pytest

from mqa_jax import config, experiment
from mqa_jax.attention.rotary import Rotary
from mqa_jax.errors import InputError
from mqa_jax.model.build import build, count

CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
FILES = sorted(path.stem for path in CONFIGS.glob("*.py") if path.stem != "uptrain")  # which has no model
LATENT_NORM = collections.defaultdict(int, mla=512)  # scales of an attention, which no feed-forward width makes up for


def get(name, variant="multi_head"):
    scope = {}
    exec(compile((CONFIGS / f"{name}.py").read_text(), name, "exec"), scope)
    return scope["get_config"](variant)


@functools.cache
def every_variant(name):
    base = get(name)
    return {variant: config.read(config.select_variant(base, variant)) for variant in base.variants}


@functools.cache
def size(name, variant):
    return count(build(every_variant(name)[variant].model).shapes())


def test_paper_variants_have_the_papers_widths():
    widths = {variant: each.model.decoder.feed_forward for variant, each in every_variant("wmt14").items()}
    assert widths == {
        "multi_head": 4096,
        "multi_query": 5440,
        "multi_query_narrow": 4096,
        "multi_head_local": 4096,
        "multi_query_local": 5440,
        "multi_head_h1": 6784,
        "multi_head_h2": 6784,
        "multi_head_h4": 6784,
        "multi_head_h8_k16": 6784,
        "grouped_2": 5248,
        "grouped_4": 4864,
        "mla": 4192,
        "multi_query_sinks": 5440,
        "multi_query_3_local_1_global": 5440,
    }
    widths = {variant: each.model.decoder.feed_forward for variant, each in every_variant("lm1b").items()}
    assert widths["multi_query"] == 9088 and widths["multi_head_h1"] == widths["multi_head_h8_k16"] == 9984


@pytest.mark.parametrize("variant", get("wmt14").variants)
def test_every_wmt_row_has_211_058_688_parameters(variant):
    wanted = 178_028_544 if variant == "multi_query_narrow" else 211_058_688
    assert size("wmt14", variant) == wanted + 18 * LATENT_NORM[variant]


def test_a_variant_can_leave_the_rule_and_the_next_one_is_back_under_it():
    base = get("wmt14")
    narrow = config.select_variant(base, "multi_query_narrow")
    assert config.read(config.select_variant(narrow, "multi_query")).model.decoder.feed_forward == 5440
    base.equal_parameters = False
    assert count(build(config.read(config.select_variant(base, "multi_query")).model).shapes()) == 178_028_544


@pytest.mark.parametrize("variant", get("lm1b").variants)
def test_every_lm_row_has_192_million_parameters(variant):
    assert size("lm1b", variant) == 191_640_576 + 6 * LATENT_NORM[variant]


@pytest.mark.parametrize("name", FILES)
def test_all_variants_of_a_config_have_one_budget(name):
    sizes = {variant: size(name, variant) for variant in every_variant(name) if variant != "multi_query_narrow"}
    assert max(sizes.values()) - min(sizes.values()) <= 0.001 * sizes["multi_head"], sizes


def test_local_touches_decoder_self_attention_only():
    model = every_variant("wmt14")["multi_query_local"].model
    assert model.decoder.attention[0].window == 32
    assert model.encoder.attention[0].window is None and model.decoder.cross[0].window is None


def test_sites_choose_which_attentions_share_heads():
    base = get("wmt14")
    base.attention.sites = ("decoder",)
    model = config.read(config.select_variant(base, "multi_query")).model
    assert (model.encoder.attention[0].write_heads, model.decoder.cross[0].write_heads) == (8, 8)
    assert model.decoder.attention[0].write_heads == 1
    assert count(build(model).shapes()) == pytest.approx(211_058_688, abs=12 * 2048)


def test_layers_take_the_attentions_of_a_pattern_in_turn():
    decoder = every_variant("wmt14")["multi_query_3_local_1_global"].model.decoder
    assert [each.window for each in decoder.attentions] == [32, 32, 32, None, 32, 32]
    assert {each.window for each in decoder.crosses} == {None}


@pytest.mark.parametrize("variant", ["grouped_2", "mla"])
def test_rotary_positions_are_the_configs(variant):
    base = get("lm_llama")
    base.attention.rotary.update(base=500_000.0, scaling="llama3", factor=8.0, low=2.0, high=3.0, original=512)
    (attention,) = config.read(config.select_variant(base, variant)).model.decoder.attention
    assert attention.rotary == Rotary(500_000.0, "llama3", 8.0, 2.0, 3.0, 512)


def test_a_variant_may_have_a_learning_rate_of_its_own():
    rates = {variant: each.train.learning_rate for variant, each in every_variant("multi30k").items()}
    assert rates.pop("multi_query") == 4e-3 and set(rates.values()) == {8e-3}


@pytest.mark.parametrize("name", FILES)
def test_experiments_survive_json(name):
    for each in every_variant(name).values():
        read = json.loads(json.dumps(dataclasses.asdict(each)))
        assert experiment.block(experiment.Experiment, read, old=True) == each


BAD = {
    "unknown key": (lambda c: c.train.update(stepz=3), "config.train.stepz is an unknown key"),
    "unknown block": (lambda c: c.update(models={}), "config.models is an unknown key"),
    "not a divisor": (lambda c: c.attention.update(write_heads=3), "write_heads=3 does not divide"),
    "no heads": (lambda c: c.baseline.update(heads=0), "config.baseline.heads=0"),
    "no window": (lambda c: c.attention.update(window=0), "config.attention.window=0"),
    "unknown site": (lambda c: c.attention.update(sites=("decoder", "crossing")), "'crossing'"),
    "dropout of one": (lambda c: c.dropout.update(hidden=1.0), "config.dropout.hidden=1.0"),
    "unknown type": (lambda c: c.model.update(dtype="float16"), "config.model.dtype='float16'"),
    "unknown optimizer": (lambda c: c.train.update(optimizer="sgd"), "config.train.optimizer='sgd'"),
    "unknown schedule": (lambda c: c.train.update(schedule="stairs"), "config.train.schedule='stairs'"),
    "a rate of no variant": (
        lambda c: c.train.update(rates={"mqa": 0.1}),
        "config.train.rates.mqa is of no variant",
    ),
    "a rate of nothing": (lambda c: c.train.update(rates={"mla": 0.0}), "config.train.rates.mla=0.0 must be a number"),
    "no steps": (lambda c: c.train.update(steps=0), "config.train.steps=0"),
    "rows longer than positions": (lambda c: c.data.update(source_length=10_000), "config.data.source_length=10000"),
    "more pieces than vocabulary": (lambda c: c.data.update(pieces=10**6), "config.data.pieces=1000000"),
    "nothing left for d_ff": (lambda c: c.baseline.update(heads=1, key_size=1, value_size=1), "config.attention"),
    "smoothing of one": (lambda c: c.train.update(label_smoothing=1.0), "config.train.label_smoothing=1.0"),
    "negative clipping": (lambda c: c.train.update(clip_norm=-1.0), "config.train.clip_norm=-1.0"),
    "parts that do not divide": (lambda c: c.train.update(accumulate=3), "config.train.accumulate=3 does not divide"),
    "negative warm-up": (lambda c: c.train.update(warmup=-1), "config.train.warmup=-1"),
    "no learning rate": (lambda c: c.train.update(learning_rate=0.0), "config.train.learning_rate=0.0"),
    "negative seed": (lambda c: c.update(seed=-1), "config.seed=-1"),
    "negative penalty": (lambda c: c.decode.update(alpha=-0.1), "config.decode.alpha=-0.1"),
    "no beams": (lambda c: c.timing.update(beams=(1, 0)), "config.timing.beams=(1, 0)"),
    "unknown positions": (lambda c: c.data.update(positions="sine"), "config.data.positions='sine' must be one of row"),
    "no integer": (
        lambda c: replaced(c.train, steps="many"),
        "config.train.steps='many' must be an integer of at least 1",
    ),
    "a rate without end": (
        lambda c: c.train.update(learning_rate=float("inf")),
        "config.train.learning_rate=inf must be a finite number above 0",
    ),
    "no number for a penalty": (
        lambda c: c.decode.update(alpha=float("nan")),
        "config.decode.alpha=nan must be a finite number of at least 0",
    ),
    "more than float32 holds": (
        lambda c: c.attention.rotary.update(base=1e39),
        "config.attention.rotary.base=1e+39 must be a finite number",
    ),
    "no ramp": (
        lambda c: c.attention.rotary.update(low=4.0),
        "config.attention.rotary has low=4.0, high=4.0, original=8192; low must be above 0 and below high",
    ),
    "a share without end": (
        lambda c: c.data.update(weights=(1.0, float("inf"))),
        "each a finite number above 0",
    ),
    "a seed of 32 bits": (lambda c: c.data.update(seed=2**31), "config.data.seed=2147483648 must be an integer of at"),
    "a window of 100 bits": (
        lambda c: c.attention.update(window=2**100),
        f"config.attention.window={2**100} must be an integer below 2**31 or None",
    ),
    "layers without end": (
        lambda c: c.model.update(encoder_layers=1001),
        "layers=1001 must be an integer from 0 to 10",
    ),
    "steps of 32 bits": (lambda c: c.train.update(steps=2**31), "config.train.steps=2147483648 must be an integer of"),
    "beams that no byte names": (lambda c: c.decode.update(beam=129), "config.decode.beam=129 must be an integer from"),
    "beams to time": (lambda c: c.timing.update(beams=(1, 129)), "each an integer from 1 to 128"),
    "no truth": (lambda c: replaced(c.data, packing=1), "config.data.packing=1 must be True or False"),
    "no number": (
        lambda c: replaced(c.train, spike=None),
        "config.train.spike=None must be a finite number of at least 0",
    ),
    "no block": (lambda c: replaced(c, train=3), "config.train=3 must be a block"),
    "one column": (lambda c: c.data.update(columns=(1,)), "config.data.columns=(1,) must be two column numbers"),
    "no texts": (lambda c: c.data.update(dev=("a", 2)), "config.data.dev=('a', 2) must be a,b,..., each a text"),
    "a share of none": (
        lambda c: c.data.update(weights=(1, 0)),
        "config.data.weights=(1, 0) must be a,b,..., each a finite number",
    ),
    "ratio below one": (
        lambda c: c.data.update(length_ratio=0.5),
        "config.data.length_ratio=0.5 must be at least 1, or 0",
    ),
    "streams that do not divide": (lambda c: c.data.update(streams=5), "config.data.streams=5 does not divide"),
    "unknown type of attention": (
        lambda c: c.attention.update(type="linear"),
        "config.attention.type='linear' must be one",
    ),
    "unknown variant": (
        lambda c: c.attention.update(pattern=("local",)),
        "config.attention.pattern has 'local'; choose from",
    ),
}


def replaced(block, **values):
    for key in values:
        del block[key]
    block.update(values)


@pytest.mark.parametrize("name", BAD)
def test_bad_values_are_named_in_one_line(name):
    spoil, words = BAD[name]
    bad = get("wmt14")
    with bad.unlocked():
        if name == "nothing left for d_ff":
            bad.attention.update(heads=64, key_size=128, value_size=128)
        spoil(bad)
    with pytest.raises(InputError, match=re.escape(words)) as error:
        config.read(bad)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_unknown_variant_lists_those_there_are():
    with pytest.raises(InputError, match=r"multi_quary.*multi_head, .*multi_query"):
        config.select_variant(get("toy"), "multi_quary")


@pytest.mark.parametrize("before", get("toy").variants)
def test_a_variant_is_the_same_whichever_was_selected_before(before):
    again = {name: config.read(config.select_variant(get("toy", before), name)) for name in get("toy").variants}
    assert again == every_variant("toy")


def test_what_a_flag_changed_stays_when_another_variant_is_selected():
    base = get("toy", "multi_query_local")
    base.attention.update(window=4, value_size=48)
    attention = config.read(config.select_variant(base, "multi_head")).model.decoder.attention[0]
    assert (attention.write_heads, attention.window, attention.value_size) == (4, 4, 48)


@pytest.mark.parametrize("pattern", [(), ("mine",)])
def test_a_field_of_a_variant_that_its_type_has_not_is_named(pattern):
    base = get("toy")
    base.variants = {"mine": {"wirte_heads": 1}, "all": {"pattern": pattern} if pattern else {"wirte_heads": 1}}
    base.lock()
    with pytest.raises(InputError, match=r"config\..*\.wirte_heads is an unknown key; .* has: .*heads, .*write_heads"):
        config.read(config.select_variant(base, "all"))


def test_a_variant_may_have_rotary_positions_and_leaves_none_behind():
    base = get("toy")
    base.variants = {"plain": {}, "turned": {"rotary": {"base": 100.0}}, "both": {"pattern": ("plain", "turned")}}
    turned = config.select_variant(base, "turned")
    assert config.read(turned).model.decoder.attention[0].rotary == Rotary(base=100.0)
    assert config.read(config.select_variant(turned, "plain")).model.decoder.attention[0].rotary is None
    cycle = config.read(config.select_variant(turned, "both")).model.decoder.attention
    assert [each.rotary for each in cycle] == [None, Rotary(base=100.0)]


def test_missing_key():
    short = get("toy").copy_and_resolve_references()
    with short.unlocked():
        del short.train.steps
    with pytest.raises(InputError, match=r"config\.train\.steps is missing"):
        config.read(short)


def test_places_mean_the_same_in_another_folder(tmp_path, monkeypatch):
    base = get("text_translation")
    base.data.update(folder="data", vocabulary_file="words.model", unk="words.txt")
    monkeypatch.chdir(tmp_path)
    data = config.read(base).data
    found = data.folder, data.vocabulary_file, data.unk
    assert found == tuple(f"{tmp_path}/{name}" for name in ("data", "words.model", "words.txt"))
    base.data.update(folder="/elsewhere", vocabulary_file="")
    assert config.read(base).data == dataclasses.replace(data, folder="/elsewhere", vocabulary_file="")
    base.data.folder = ""
    assert config.read(base).data.folder == str(tmp_path)
    assert config.read(get("toy")).data.folder == "", "there are no files"
