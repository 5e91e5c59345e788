"""Records made up for reports, a whole comparison of them, and readers of what a report says."""

import functools
import html.parser
import math
import pathlib
from typing import TypeVar

from mqa_jax import config, records
from mqa_jax.report.table import Table

CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
T = TypeVar("T")
SIGNATURE = "nrefs:1|case:mixed|eff:no|tok:{}|smooth:exp|version:2.6.0"
PAIR = ["multi_head", "multi_query"]


def get_config(name):
    scope = {}
    exec(compile((CONFIGS / f"{name}.py").read_text(), name, "exec"), scope)
    return scope["get_config"]()


def experiment(name, variant, seed=0, change=lambda base: None):
    base = get_config(name)
    change(base)
    base.seed = seed
    return config.read(config.select_variant(base, variant))


def train(of, final_loss=2.0, corpus="40,000 generated sentence pairs", parameters=1_000_000, tokens_per_s=20_000.0):
    curve = [{"step": step, "seconds": 1.0, "tokens": 9, "loss": 4.0 - step / 400} for step in range(100, 801, 100)]
    for point in curve[1::2]:
        point["dev_nll_per_token"] = point["loss"] - 0.5
    figures = {"parameters": parameters, "feed_forward": of.model.decoder.feed_forward, "steps": of.train.steps}
    figures |= {"tokens_per_s": tokens_per_s, "target_tokens_per_s": tokens_per_s / 2}
    figures |= {"train_s": 60.0, "compile_s": 5.0}
    return records.make("train", of, figures | {"final_loss": final_loss, "corpus": corpus, "curve": curve})


def quality(of, bleu, split="test", beam=1, truncated=0):
    scores = {"bleu_intl": bleu, "bleu_13a": bleu - 0.75, "chrf": bleu + 25}
    scores |= {f"signature_{each}": SIGNATURE.format(each) for each in ("intl", "13a", "chrf")}
    figures = {"split": split, "beam": beam, "alpha": 0.6, "sentences": 2000, "truncated": truncated}
    figures |= {"translate_s": 9.0, "sentences_per_s": 222.0, "hypotheses": "hypotheses/test-beam1.txt"}
    figures["examples"] = [
        {"line": n, "source": f"source {n}", "reference": f"reference {n}", "output": f"{of.variant} {beam} {n}"}
        for n in (1, 667, 1334)
    ]
    return records.make("quality", of, figures | scores)


def perplexity(of, nll, per_word, split="dev"):
    figures = {"split": split, "nll_per_token": nll, "perplexity_per_token": math.exp(nll), "sentences": 2000}
    return records.make(
        "perplexity", of, figures | {"perplexity_per_word": per_word, "tokens": 48_211, "words": 30_122}
    )


def timing(of, decoder, beam=1, length=None, encoder=4.0, floor=10.0, cache=16_384, padded=True):
    target = length or of.timing.target_length
    source = of.timing.source_length if length is None or of.task == "language" else length
    figures = {"batch": of.timing.batch, "beam": beam, "source_length": source, "target_length": target}
    figures |= {"dtype": of.model.dtype, "padded_cache": padded, "repeats": 5, "ms_per_step": 2.5}
    figures |= {"encoder_us_per_token": encoder, "encoder_us_spread": [encoder * 0.9, encoder * 1.1]}
    figures |= {"decoder_us_per_token": decoder, "decoder_us_spread": [decoder * 0.9, decoder * 1.1]}
    figures |= {"floor_us_per_token": floor, "encoder_floor_us_per_token": 2.0, "floor_share": floor / decoder}
    figures |= {"bytes_per_step": 1e7, "flops_per_step": 1e8, "peak_bytes_per_s": 31e9, "peak_flops_per_s": 1.1e12}
    return records.make(
        "timing", of, figures | {"compile_s": 3.0, "peak_memory_mb": 900.0, "cache_bytes_per_sequence": cache}
    )


def significance(of, rows):
    figures = {"metric": "BLEU", "split": "test", "beam": 4, "baseline": of.variant, "samples": 1000, "rows": rows}
    return records.make("significance", of, figures | {"signature": "bs:1000|seed:12345|" + SIGNATURE.format("intl")})


def over_seeds(of, rows, metric="BLEU intl"):
    """Rows of (variant, seeds, mean, sd, difference, low, high, p, Holm's p)."""
    fields = "variant", "seeds", "mean", "sd", "difference", "low", "high", "p_value", "p_holm"
    rows = [dict(zip(fields, row, strict=True)) for row in rows]
    where = {"split": "test", "beam": 4} if "BLEU" in metric else {"split": "test"}
    return records.make("seeds", of, {"metric": metric, "baseline": of.variant, "rows": rows} | where)


@functools.cache
def comparison():
    """A whole comparison of two variants: multi_query is three times as fast."""
    result = []
    for variant, bleu, decoder, cache in (("multi_head", 27.5, 90.0, 131_072), ("multi_query", 27.25, 30.0, 16_384)):
        of = experiment("toy", variant)
        result += [train(of), quality(of, bleu), quality(of, bleu + 1, beam=4, truncated=3), quality(of, 26.0, "dev")]
        result += [perplexity(of, 0.9, 3.21), perplexity(of, 0.95, 3.45, "test")]
        result += [timing(of, decoder, cache=cache), timing(of, 3 * decoder, beam=4, cache=cache)]
        result += [timing(of, decoder * n / 64, length=n, floor=n / 8) for n in (16, 32, 128)]
    rows = [
        {"variant": "multi_head", "score": 28.5, "mean": 28.49, "ci": 0.61, "p_value": None},
        {"variant": "multi_query", "score": 28.25, "mean": 28.24, "ci": 0.6, "p_value": 0.021},
    ]
    return [*result, significance(experiment("toy", "multi_head"), rows)]


def there(value: T | None) -> T:
    assert value is not None
    return value


def column(table: Table | None, header: str) -> list[str]:
    """The cells of a column, from the first row down."""
    table = there(table)
    return [row[table.columns.index(header)] for row in table.rows]


def of_kind(everything, *kinds):
    return [record for record in everything if record["kind"] in kinds]


def without(everything, kind):
    return [record for record in everything if record["kind"] != kind]


class Cells(html.parser.HTMLParser):
    """The text of table cells, and every tag with its attributes."""

    def __init__(self):
        super().__init__()
        self.cells, self.tags, self._inside = [], [], False

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self.cells.append("")
            self._inside = True

    def handle_endtag(self, tag):
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self._inside:
            self.cells[-1] += data


def read_html(text):
    parser = Cells()
    parser.feed(text)
    return parser
