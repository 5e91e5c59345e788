"""The subword vocabulary: SentencePiece, shared by both languages."""

import hashlib
import io
import pathlib
import random
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sentencepiece

from mqa_jax import progress
from mqa_jax.data.corpus import Corpus
from mqa_jax.data.split import Split
from mqa_jax.errors import InputError
from mqa_jax.experiment import DataConfig
from mqa_jax.tokens import BOS, EOS, PAD, UNK

SAMPLE = 1_000_000  # lines that a vocabulary is trained on, at most
SPECIAL = {"pad": PAD, "eos": EOS, "bos": BOS, "unk": UNK}


class Vocabulary:
    """Text to ids and back. Loads its file when it is first used, so that it can be pickled."""

    def __init__(self, path: str | pathlib.Path):
        self._path = pathlib.Path(path)
        self._processor: sentencepiece.SentencePieceProcessor | None = None

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without EOS."""
        return self._load().encode(text)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts, on all cores."""
        return self._load().encode(list(texts), num_threads=-1)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids up to the first EOS; padding, BOS and ids beyond the vocabulary are left out."""
        kept, size = [], self.size
        for token in ids:
            if token == EOS:
                break
            if token not in (PAD, BOS) and 0 <= token < size:
                kept.append(int(token))
        return self._load().decode(kept)

    @property
    def path(self) -> pathlib.Path:
        """The SentencePiece model's file."""
        return self._path

    @property
    def size(self) -> int:
        """Number of pieces, the four special ones included."""
        return self._load().get_piece_size()

    @property
    def fingerprint(self) -> str:
        """The first 16 hex digits of the file's SHA-256."""
        return hashlib.sha256(self._path.read_bytes()).hexdigest()[:16]

    def __getstate__(self) -> dict:
        return {"_path": self._path, "_processor": None}

    def _load(self) -> sentencepiece.SentencePieceProcessor:
        if self._processor is None:
            if not self._path.is_file():
                raise InputError(f"vocabulary {self._path} is missing; check the path")
            try:
                processor = sentencepiece.SentencePieceProcessor(model_file=str(self._path))
            except (OSError, RuntimeError) as error:
                raise InputError(f"{self._path} is not a SentencePiece model; delete it or name another") from error
            special = {name: getattr(processor, f"{name}_id")() for name in SPECIAL}
            if special != SPECIAL:
                raise InputError(f"{self._path} has the special ids {special}; train one with {SPECIAL}")
            self._processor = processor
        return self._processor


def train(lines: Sequence[str], pieces: int, path: pathlib.Path, seed: int = 0) -> Vocabulary:
    """Trains a vocabulary of at most `pieces` subwords on (a sample of) the lines and writes it whole or not at all.

    Characters that the lines do not hold are spelt in bytes, so that no text is unknown.

    Raises:
      InputError: the lines are empty or `pieces` is too small.
    """
    if len(lines) > SAMPLE:
        lines = [lines[index] for index in sorted(random.Random(seed).sample(range(len(lines)), SAMPLE))]
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
            normalization_rule_name="nmt_nfkc",
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
        raise InputError(
            f"cannot train config.data.pieces={pieces} subwords on {len(lines)} lines: {reason}"
        ) from error
    _write(path, model.getvalue())
    return Vocabulary(path)


def obtain(data: DataConfig, corpus: Corpus, path: pathlib.Path) -> Vocabulary:
    """The vocabulary at `path`: the one that is there, or a copy of the prepared ids' or the config's, or a new one.

    Raises:
      InputError: it is larger than config.data.pieces, or cannot be made.
    """
    if not path.exists():
        named = corpus.vocabulary or data.vocabulary_file
        if named:
            given = Vocabulary(named)
            progress.say(f"vocabulary of {given.size} subwords from {named}")
            _write(path, pathlib.Path(named).read_bytes())
        else:
            progress.say(f"training a vocabulary of {data.pieces} subwords")
            train(_BothSides(corpus.splits["train"]), data.pieces, path, data.seed)
    vocabulary = Vocabulary(path)
    if vocabulary.size > data.pieces:
        raise InputError(
            f"{path} has {vocabulary.size} pieces, more than config.data.pieces={data.pieces}; raise that or delete it"
        )
    return vocabulary


class _BothSides(Sequence[str]):
    """The lines of both sides of a split, without a copy."""

    def __init__(self, split: Split):
        self._source, self._target = split.source, split.target

    def __len__(self) -> int:
        return len(self._source) + len(self._target)

    def __getitem__(self, index: Any) -> Any:
        index = range(len(self))[index]  # negative and too large ones as in a list
        beyond = index - len(self._source)
        return self._source[index] if beyond < 0 else self._target[beyond]

    def __iter__(self) -> Iterator[str]:
        yield from self._source
        yield from self._target


def _write(path: pathlib.Path, content: bytes) -> None:
    """Whole or not at all, whatever other processes write there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    part.write_bytes(content)
    part.replace(path)
