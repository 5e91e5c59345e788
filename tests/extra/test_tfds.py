"""TFDS's own builders, run whole on archives of few generated lines: fetched, unpacked, parsed, encoded, trained on.

TensorFlow, which TFDS's preparation needs, lies in a folder of its own (.ci/prepare): only the process that prepares
sees it. The archives come over HTTP through a proxy of this test's, under the addresses that TFDS knows.
"""

import dataclasses
import hashlib
import http.server
import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import threading

import pytest
from test_run import tiny
from test_sources import data_of

from mqa_jax.data import sources, vocabulary
from mqa_jax.evaluate import quality
from mqa_jax.train import loop, trained

ROOT = pathlib.Path(__file__).parents[2]
TENSORFLOW = pathlib.Path(os.environ.get("MQA_TENSORFLOW") or ROOT / ".venv" / "tensorflow")
LM1B = "1-billion-word-language-modeling-benchmark-r13output"

# Gives the archives of this test their checksums, for this process alone, then runs the script.
RUN = """
import json, runpy, sys
from tensorflow_datasets.core.download import checksums
ours = {url: checksums.UrlInfo(*info) for url, info in json.loads(sys.argv.pop(1)).items()}
load = checksums.load_url_infos
def load_url_infos(path):
    registered = load(path)
    return registered | {url: info for url, info in ours.items() if url in registered}
checksums.load_url_infos = load_url_infos
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def parallel(name, count):
    return {
        f"{name}.en": "".join(f"{name} says {number} dogs run\n" for number in range(count)),
        f"{name}.de": "".join(f"{name} sagt {number} Hunde laufen\n" for number in range(count)),
    }


def sgm(side, words, count):
    segments = "".join(f'<seg id="{number}">{words} {number}.</seg>\n' for number in range(1, count + 1))
    return {f"dev/newstest2014-deen-{side}.sgm": f'<srcset setid="newstest2014">\n<doc>\n{segments}</doc>\n</srcset>\n'}


def archive(files):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


MANY = 300
ARCHIVES = {
    "http://www.statmt.org/wmt13/training-parallel-europarl-v7.tgz": parallel("training/europarl-v7.de-en", MANY),
    "http://www.statmt.org/wmt13/training-parallel-commoncrawl.tgz": parallel("commoncrawl.de-en", MANY),
    "http://www.statmt.org/wmt14/training-parallel-nc-v9.tgz": parallel("training/news-commentary-v9.de-en", MANY),
    "http://data.statmt.org/wmt18/translation-task/training-parallel-nc-v13.tgz": parallel(
        "training-parallel-nc-v13/news-commentary-v13.de-en", MANY
    ),
    "http://data.statmt.org/wmt19/translation-task/dev.tgz": parallel("dev/newstest2013", 20)
    | sgm("src.de", "Hunde laufen", 20)
    | sgm("ref.en", "dogs run", 20),
    f"http://www.statmt.org/lm-benchmark/{LM1B}.tar.gz": {
        f"{LM1B}/training-monolingual.tokenized.shuffled/news.en-00001-of-00100": parallel("a", MANY)["a.en"],
        f"{LM1B}/training-monolingual.tokenized.shuffled/news.en-00002-of-00100": parallel("b", MANY)["b.en"],
        f"{LM1B}/heldout-monolingual.tokenized.shuffled/news.en.heldout-00000-of-00050": parallel("c", 30)["c.en"],
        f"{LM1B}/heldout-monolingual.tokenized.shuffled/news.en.heldout-00001-of-00050": parallel("d", 15)["d.en"],
    },
}
PACKED = {url: archive(files) for url, files in ARCHIVES.items()}
CHECKSUMS = {
    url: (len(packed), hashlib.sha256(packed).hexdigest(), url.rpartition("/")[2]) for url, packed in PACKED.items()
}


@pytest.fixture(scope="module")
def proxy():
    """An HTTP proxy that knows these archives and nothing else; `asked` lists what was asked of it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            packed = PACKED.get(self.path)
            self.send_response(200 if packed else 404)
            self.send_header("Content-Length", str(len(packed or b"")))
            self.end_headers()
            self.wfile.write(packed or b"")

        def log_message(self, *_):
            pass

    asked: list[str] = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def prepare(proxy, config, folder, *arguments, checksums=CHECKSUMS, tensorflow=True):
    path = [str(ROOT), *([str(TENSORFLOW)] if tensorflow else [])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path), "NO_PROXY": "", "no_proxy": ""}
    environment |= {name: proxy[0] for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy")}
    command = [sys.executable, "-c", RUN, json.dumps(checksums), "scripts/prepare_data.py"]
    command += [f"--config=configs/{config}.py", f"--data_dir={folder}", "--json=-", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def tiny_run(name, folder, **data):
    """`test_run.tiny` on prepared TFDS data."""
    base = tiny(name={"translation": "toy", "language": "text_lm"}[name], steps=3, evaluate_every=3)
    fields = {"kind": "tfds", "folder": str(folder), "pieces": 330} | data
    rows = {key: getattr(base.data, key) for key in ("source_length", "target_length", "rows", "packing")}
    config = data_of({"translation": "wmt14", "language": "lm1b"}[name], **fields | rows)
    return dataclasses.replace(base, data=config)


WMT = {
    "wmt14_translate/de-en": ("europarl-v7", "commoncrawl", "news-commentary-v9"),
    "wmt_t2t_translate/de-en": ("europarl-v7", "commoncrawl", "news-commentary-v13"),
}


@pytest.mark.parametrize("dataset", WMT)
def test_wmt_is_fetched_and_prepared_then_trained_on_and_evaluated(proxy, tmp_path, dataset):
    done = prepare(proxy, "wmt14", tmp_path, f"--config.data.dataset={dataset}", "--config.data.pieces=330")
    assert done.returncode == 0, done.stderr
    brief = json.loads(done.stdout)
    assert brief["examples"] == {"train": 3 * MANY, "dev": 20, "test": 20}
    experiment = tiny_run("translation", tmp_path, dataset=dataset)
    corpus = sources.load(experiment.data, "translation")
    assert corpus.prepared and dataset in corpus.description
    assert ("dogs run 7.", "Hunde laufen 7.") in corpus.splits["test"].pairs()
    text = sources.load_text(experiment.data, "translation").splits
    assert {line.split(".")[0].rpartition("/")[2] for line in text["train"].source} == set(WMT[dataset])
    assert sorted(text["dev"].pairs()) == sorted(corpus.splits["dev"].pairs())
    if dataset == "wmt_t2t_translate/de-en":
        return  # one training run tells what two would
    run = tmp_path / "run"
    loop.train(experiment, corpus, vocabulary.obtain(experiment.data, corpus, run / "vocabulary.model"), run)
    result = trained.load(run)
    assert quality.perplexity_of(result, corpus.splits["dev"], "dev")["nll_per_token"] > 0
    assert quality.translation_quality(result, corpus.splits["test"], "test", 1)["sentences"] == 20


def test_lm1b_is_prepared_from_an_archive_fetched_by_hand(proxy, tmp_path):
    url = f"http://www.statmt.org/lm-benchmark/{LM1B}.tar.gz"
    by_hand = tmp_path / "downloads" / "manual" / f"{LM1B}.tar.gz"
    by_hand.parent.mkdir(parents=True)
    by_hand.write_bytes(PACKED[url])
    asked = len(proxy[1])
    done = prepare(proxy, "lm1b", tmp_path, "--config.data.pieces=330")
    assert done.returncode == 0, done.stderr
    assert len(proxy[1]) == asked, "nothing is fetched"
    experiment = tiny_run("language", tmp_path)
    corpus = sources.load(experiment.data, "language")
    assert {name: list(split.target) for name, split in corpus.splits.items()} == {
        "dev": parallel("c", 30)["c.en"].splitlines(),
        "test": parallel("d", 15)["d.en"].splitlines(),
    }, "the files themselves, where TFDS unpacked them"
    halves = sources.load_text(dataclasses.replace(experiment.data, dev=(), test=()), "language").splits
    assert {name: len(halves[name]) for name in ("dev", "test")} == {"dev": 23, "test": 22}
    assert corpus.prepared and len(corpus.prepared) == 2 * MANY
    run = tmp_path / "run"
    loop.train(experiment, corpus, vocabulary.obtain(experiment.data, corpus, run / "vocabulary.model"), run)
    record = quality.perplexity_of(trained.load(run), corpus.splits["test"], "test")
    assert record["words"] == sum(len(line.split()) for line in corpus.splits["test"].target)


def test_what_fails_says_which_archive_its_size_and_where_it_goes(proxy, tmp_path):
    """What is fetched is not what TFDS registered, which holds for users; a file fetched by hand is cut short."""
    by_hand = tmp_path / "downloads" / "manual" / "training-parallel-europarl-v7.tgz"
    url = "http://www.statmt.org/wmt13/training-parallel-europarl-v7.tgz"
    done = prepare(proxy, "wmt14", tmp_path, checksums={})
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and last.startswith("error: preparing wmt14_translate/de-en failed: ")
    assert "has wrong checksum" in last and f"fetch {url} (657,632,379 bytes) by hand" in last
    assert last.endswith(f"put it at {by_hand} and run again")
    by_hand.write_bytes(b"cut short")
    done = prepare(proxy, "wmt14", tmp_path)
    assert f"{by_hand} has 9 bytes, not" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "prepared").exists()


def test_without_tensorflow_the_error_says_what_to_install(proxy, tmp_path):
    done = prepare(proxy, "lm1b", tmp_path, tensorflow=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: preparing TFDS data needs TensorFlow: pip install 'mqa_jax[prepare]'"
    )
