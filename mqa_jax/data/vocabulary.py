"""The subword vocabulary: SentencePiece, shared by both languages; or what came with a model from outside.

A run's folder has one file of it: `vocabulary.model` is SentencePiece's, `vocabulary.json` holds a tokenizer of Hugging
Face's `tokenizers` and the ids of the tokens that begin and end a text.
"""

import abc
import hashlib
import io
import itertools
import json
import pathlib
import random
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import sentencepiece
import tokenizers

from mqa_jax import files, progress
from mqa_jax.data.corpus import Corpus, Split
from mqa_jax.data.examples import Examples, join
from mqa_jax.errors import InputError
from mqa_jax.experiment import DataConfig
from mqa_jax.tokens import BOS, EOS, PAD, UNK

SAMPLE = 1_000_000  # lines that a vocabulary is trained on, at most
CHUNK = 65_536  # lines encoded at a time
SPECIAL = {"pad": PAD, "eos": EOS, "bos": BOS, "unk": UNK}


class Vocabulary(abc.ABC):
    """Text to ids and back.

    Attributes:
      path: of its file.
      size: number of ids, the special ones included.
      bos, eos: the ids that are fed before a text's first token, and that end one.
      silent: the ids that stand for no text.
    """

    path: pathlib.Path
    size: int
    bos: int
    eos: int
    silent: tuple[int, ...]

    @abc.abstractmethod
    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts, without EOS, on all cores."""

    @abc.abstractmethod
    def piece(self, id: int) -> str:
        """What an id is called."""

    @abc.abstractmethod
    def text_of(self, ids: list[int]) -> str:
        """Text of ids of the vocabulary."""

    @property
    def fingerprint(self) -> str:
        """The first 16 hex digits of the file's SHA-256."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()[:16]

    @property
    def dtype(self) -> type[np.integer]:
        """What its ids are kept in."""
        return np.uint16 if self.size <= 1 << 16 else np.int32

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without EOS."""
        return self.encode_all([text])[0]

    def encode_split(self, split: Split, on_progress: Callable[[int], None] | None = None) -> Examples:
        """The ids of all lines, each side ending in EOS.

        Args:
          on_progress: is told how many lines are done.
        """
        chunks = []
        for start in range(0, max(1, len(split)), CHUNK):
            flat, lengths = {}, {}
            for name, side in split.sides.items():
                encoded = [[*ids, self.eos] for ids in self.encode_all(side[start : start + CHUNK])]
                lengths[name] = np.fromiter(map(len, encoded), np.int64, len(encoded))
                flat[name] = np.fromiter(itertools.chain.from_iterable(encoded), self.dtype, lengths[name].sum())
            chunks.append(Examples(flat, lengths))
            if on_progress:
                on_progress(min(start + CHUNK, len(split)))
        return join(chunks)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids up to the first EOS; `silent` ids and those beyond the vocabulary are left out."""
        ended = itertools.takewhile(lambda token: token != self.eos, ids)
        return self.text_of([int(id) for id in ended if id not in self.silent and 0 <= id < self.size])


class SentencePiece(Vocabulary):
    """A SentencePiece model. One that came from outside has special ids of its own."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        try:
            self.processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise InputError(f"{path} is not a SentencePiece model; delete it or name another") from error
        self.size, self.eos = self.processor.get_piece_size(), self.processor.eos_id()
        self.bos = self.processor.bos_id() if self.processor.bos_id() >= 0 else self.eos
        self.silent = (PAD, self.bos) if self.is_ours else (self.bos,)
        if self.eos < 0:
            raise InputError(f"{path} has no piece that ends a text; train one with the special ids {SPECIAL}")

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return self.processor.encode(list(texts), num_threads=-1)

    def piece(self, id: int) -> str:
        return self.processor.id_to_piece(id)

    @property
    def is_ours(self) -> bool:
        """Whether it has the special ids of those that are trained here."""
        return all(getattr(self.processor, f"{name}_id")() == id for name, id in SPECIAL.items())

    def text_of(self, ids: list[int]) -> str:
        return self.processor.decode(ids)


class Tokenizers(Vocabulary):
    """A tokenizer of Hugging Face's `tokenizers`. Its special tokens are read as such where a text spells them out."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            self._tokenizer = tokenizers.Tokenizer.from_str(json.dumps(held["tokenizer"]))
            self.bos, self.eos = int(held["bos"]), int(held["eos"])
        except Exception as error:  # the library raises Exception itself
            raise InputError(f"{path} is not a tokenizer ({error}); delete it or name another") from error
        self.size = self._tokenizer.get_vocab_size()
        self.silent = (self.bos,)  # id 0 may be a letter

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [each.ids for each in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def piece(self, id: int) -> str:
        return self._tokenizer.id_to_token(id) or ""

    def text_of(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids)


def read(path: str | pathlib.Path) -> Vocabulary:
    """The vocabulary in a file.

    Raises:
      InputError: no such file, or none of a vocabulary.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"vocabulary {path} is missing; check the path")
    return (Tokenizers if path.suffix == ".json" else SentencePiece)(path)


def path_in(folder: pathlib.Path) -> pathlib.Path:
    """Where a run has its vocabulary."""
    there = folder / "vocabulary.json"
    return there if there.exists() else folder / "vocabulary.model"


def train(lines: Sequence[str], pieces: int, path: pathlib.Path, normalization: str = "nmt_nfkc") -> Vocabulary:
    """Trains a vocabulary of at most `pieces` subwords and writes it.

    Characters that the lines do not hold are spelt in bytes, so that no text is unknown.

    Args:
      normalization: of SentencePiece; with "identity" ids give back the text as it was, spaces too.

    Raises:
      InputError: the lines are empty or `pieces` is too small.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            vocab_size=pieces,
            model_type="unigram",
            character_coverage=0.9999,
            byte_fallback=True,
            hard_vocab_limit=False,
            normalization_rule_name=normalization,
            remove_extra_whitespaces=normalization != "identity",
            max_sentence_length=100_000,
            pad_id=PAD,
            eos_id=EOS,
            bos_id=BOS,
            unk_id=UNK,
            minloglevel=2,
            num_threads=1,  # the threads' sums differ in their last bits from run to run
        )
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        what = f"cannot train config.data.pieces={pieces} subwords on {len(lines)} lines"
        raise InputError(f"{what}: {reason}") from error
    return SentencePiece(files.write(path, model.getvalue()))


def obtain(data: DataConfig, corpus: Corpus, path: pathlib.Path) -> Vocabulary:
    """The vocabulary at `path`: the one that is there, or a copy of the prepared ids' or the config's, or a new one.

    A copy has the suffix of what it is a copy of.

    Raises:
      InputError: it is larger than config.data.pieces, or cannot be made.
    """
    named = path_in(corpus.prepared.folder) if corpus.prepared else data.vocabulary_file
    if path.exists():
        vocabulary = read(path)
    elif named:
        given = read(named)
        if isinstance(given, SentencePiece) and not given.is_ours:
            raise InputError(f"{named} has special ids other than {SPECIAL}; train one with these")
        progress.say(f"vocabulary of {given.size} subwords from {named}")
        vocabulary = read(files.write(path.with_suffix(given.path.suffix), given.path.read_bytes()))
    else:
        progress.say(f"training a vocabulary of {data.pieces} subwords")
        vocabulary = train(_sampled(corpus.splits["train"], data.seed), data.pieces, path, data.normalization)
    if vocabulary.size > data.pieces:
        raise InputError(
            f"{path} has {vocabulary.size} pieces, more than config.data.pieces={data.pieces}; raise that or delete it"
        )
    return vocabulary


def _sampled(split: Split, seed: int) -> list[str]:
    """The lines of both sides, the source's first; of many, `SAMPLE` at random in their order."""
    first, total = len(split.source), len(split.source) + len(split.target)
    if total <= SAMPLE:
        return [*split.source, *split.target]
    chosen = sorted(random.Random(seed).sample(range(total), SAMPLE))
    return [split.source[index] if index < first else split.target[index - first] for index in chosen]
