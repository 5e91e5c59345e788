"""Models and timings for a person to read: what one is made of and a decode step costs (`train.py --describe`, without
building it), and how fast it was."""

from typing import Any

from mqa_jax.attention.config import in_turn
from mqa_jax.experiment import Experiment
from mqa_jax.timing import cost


def describe(experiment: Experiment) -> dict[str, Any]:
    """Parameters by part, shapes, cache and the cost of a decode step at the config's timing shape."""
    model, timing = experiment.model, experiment.timing
    shape = timing.batch, 1, timing.source_length, timing.target_length
    step = cost.decode_cost(model, *shape, padded_cache=True)
    sites = {
        "encoder": model.encoder.attention if model.encoder else (),
        "decoder": model.decoder.attention,
        "cross": model.decoder.cross,
    }
    return {
        "name": experiment.name,
        "variant": experiment.variant,
        "layers": {"encoder": model.encoder.layers if model.encoder else 0, "decoder": model.decoder.layers},
        "width": model.width,
        "feed_forward": model.decoder.feed_forward,
        "vocabulary": model.vocabulary,
        "positions": model.positions,
        "dtype": model.dtype,
        "cache_dtype": model.kept_dtype,
        "weight_dtype": model.weight_dtype or model.dtype,
        "attention": {site: in_turn(cycle) for site, cycle in sites.items() if cycle},
        "parameters": cost.parameters_by_part(model),
        "batch": timing.batch,
        "source_length": timing.source_length,
        "target_length": timing.target_length,
        "cache_bytes_per_sequence": cost.cache_bytes_per_sequence(model, timing.source_length, timing.target_length),
        "weight_bytes_per_step": step.weight_bytes,
        "self_bytes_per_step": step.self_bytes,
        "cross_bytes_per_step": step.cross_bytes,
        "bytes_per_step": step.bytes,
        "flops_per_step": step.flops,
        "flops_per_byte": step.flops / step.bytes,
    }


def speeds(record: dict[str, Any]) -> list[str]:
    """A `timing` record for a person to read: encoder (of a language model: prompt), decoder, memory."""
    text = []
    source = "encoder" if record["task"] == "translation" else "prompt"
    for side, name, floor_share in (("encoder", source, "encoder_floor_share"), ("decoder", "decoder", "floor_share")):
        us, (low, high) = record[f"{side}_us_per_token"], record[f"{side}_us_spread"]
        speed = f"{us:.1f} us a token ({low:.1f} to {high:.1f}), {1e6 / us:,.0f} tokens/s"
        text.append(f"{name}: {speed}, {record[floor_share]:.0%} of the floor's speed")
    return [*text, f"most memory held: {record['peak_memory_mb']:,.0f} MiB"]


def lines(description: dict[str, Any]) -> list[str]:
    """The description for a person to read."""
    parameters = description["parameters"]
    width = max(map(len, parameters))
    text = [f"{description['name']} {description['variant']}  ({description['dtype']})", ""]
    text += [f"  {part:<{width}}  {count:>13,}" for part, count in parameters.items()]
    layers = description["layers"]
    text += [
        "",
        f"  layers {layers['encoder']} + {layers['decoder']}, width {description['width']}, "
        f"d_ff {description['feed_forward']}, vocabulary {description['vocabulary']:,}, "
        f"{description['positions']} positions",
    ]
    text += [f"  {site} attention: {each}" for site, each in description["attention"].items()]
    source = "source" if layers["encoder"] else "prompt"
    megabytes = {part: description[f"{part}_bytes_per_step"] / 1e6 for part in ("weight", "self", "cross")}
    text += [
        "",
        f"  a greedy decode step of {description['batch']} sentences, {source} {description['source_length']}, "
        f"output {description['target_length']}, caches padded to full length:",
        f"    cache       {description['cache_bytes_per_sequence'] / 1e6:10.2f} MB a sequence",
        f"    reads       {description['bytes_per_step'] / 1e6:10.1f} MB (weights {megabytes['weight']:.1f}, "
        f"self-attention {megabytes['self']:.1f}, cross-attention {megabytes['cross']:.1f})",
        f"    operations  {description['flops_per_step'] / 1e9:10.2f} G ({description['flops_per_byte']:.1f} a byte)",
    ]
    return text
