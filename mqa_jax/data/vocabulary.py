"""The subword vocabulary: SentencePiece, shared by both languages."""

import hashlib
import io
import pathlib
import random
import shutil
from collections.abc import Iterable, Sequence

import sentencepiece

from mqa_jax import progress
from mqa_jax.data.sources import Corpus
from mqa_jax.errors import InputError
from mqa_jax.experiment import DataConfig
from mqa_jax.tokens import BOS, EOS, PAD, UNK

SAMPLE = 1_000_000  # lines that a vocabulary is trained on, at most


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
                kept.append(token)
        return self._load().decode(kept)

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
            try:
                self._processor = sentencepiece.SentencePieceProcessor(model_file=str(self._path))
            except (OSError, RuntimeError) as error:
                raise InputError(f"{self._path} is not a SentencePiece model; delete it to make a new one") from error
        return self._processor


def train(lines: Iterable[str], pieces: int, path: pathlib.Path, seed: int = 0) -> Vocabulary:
    """Trains a vocabulary of at most `pieces` subwords on (a sample of) the lines and writes it whole or not at all.

    Characters that the lines do not hold are spelt in bytes, so that no text is unknown.

    Raises:
      InputError: the lines are empty or `pieces` is too small.
    """
    lines = list(lines)
    if len(lines) > SAMPLE:
        lines = random.Random(seed).sample(lines, SAMPLE)
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
        raise InputError(f"cannot train config.data.pieces={pieces} subwords on {len(lines)} lines: {reason}") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".part")
    half.write_bytes(model.getvalue())
    half.replace(path)
    return Vocabulary(path)


def obtain(data: DataConfig, corpus: Corpus, path: pathlib.Path) -> Vocabulary:
    """The vocabulary at `path`: the one that is there, or a copy of config.data.vocabulary_file, or a new one.

    Raises:
      InputError: it is larger than config.data.pieces, or cannot be made.
    """
    if not path.exists():
        if data.vocabulary_file:
            if not pathlib.Path(data.vocabulary_file).exists():
                raise InputError(f"config.data.vocabulary_file={data.vocabulary_file} is missing; check the path")
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(data.vocabulary_file, path)
        else:
            progress.say(f"training a vocabulary of {data.pieces} subwords")
            split = corpus.splits["train"]
            train([*split.source, *split.target], data.pieces, path, data.seed)
    vocabulary = Vocabulary(path)
    if vocabulary.size > data.pieces:
        raise InputError(
            f"{path} has {vocabulary.size} pieces, more than config.data.pieces={data.pieces}; raise that or delete it"
        )
    return vocabulary
