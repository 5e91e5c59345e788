"""The subword vocabulary: SentencePiece, shared by both languages."""

import hashlib
import io
import itertools
import pathlib
import random
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import sentencepiece

from mqa_jax import files, progress
from mqa_jax.data.corpus import Corpus, Split
from mqa_jax.data.examples import Examples
from mqa_jax.errors import InputError
from mqa_jax.experiment import DataConfig
from mqa_jax.tokens import BOS, EOS, PAD, UNK

SAMPLE = 1_000_000  # lines that a vocabulary is trained on, at most
CHUNK = 65_536  # lines encoded at a time
SPECIAL = {"pad": PAD, "eos": EOS, "bos": BOS, "unk": UNK}


class Vocabulary:
    """Text to ids and back, with the SentencePiece model at `path`.

    Raises:
      InputError: no such file, no model, or one with other special ids.
    """

    def __init__(self, path: str | pathlib.Path):
        self.path = pathlib.Path(path)
        if not self.path.is_file():
            raise InputError(f"vocabulary {path} is missing; check the path")
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise InputError(f"{path} is not a SentencePiece model; delete it or name another") from error
        special = {name: getattr(self._processor, f"{name}_id")() for name in SPECIAL}
        if special != SPECIAL:
            raise InputError(f"{path} has the special ids {special}; train one with {SPECIAL}")

    @property
    def size(self) -> int:
        """Number of pieces, the four special ones included."""
        return self._processor.get_piece_size()

    @property
    def fingerprint(self) -> str:
        """The first 16 hex digits of the file's SHA-256."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()[:16]

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without EOS."""
        return self._processor.encode(text)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts, on all cores."""
        return self._processor.encode(list(texts), num_threads=-1)

    def encode_split(self, split: Split, share: range | None = None) -> Iterator[Examples]:
        """The ids of the lines of `share`, or of all, each side ending in EOS, some thousand lines at a time."""
        share = range(len(split)) if share is None else share
        dtype = np.uint16 if self.size <= 1 << 16 else np.int32
        for start in range(0, len(share), CHUNK):
            part = share[start : start + CHUNK]
            flat, lengths = {}, {}
            for name, side in split.sides.items():
                encoded = self.encode_all(side[part.start : part.stop])
                for ids in encoded:
                    ids.append(EOS)
                lengths[name] = np.fromiter(map(len, encoded), np.int64, len(encoded))
                flat[name] = np.fromiter(itertools.chain.from_iterable(encoded), dtype, lengths[name].sum())
            yield Examples(flat, lengths)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids up to the first EOS; padding, BOS and ids beyond the vocabulary are left out."""
        ended = itertools.takewhile(lambda token: token != EOS, ids)
        return self._processor.decode([int(id) for id in ended if id not in (PAD, BOS) and 0 <= id < self.size])


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
    return Vocabulary(files.write(path, model.getvalue()))


def obtain(data: DataConfig, corpus: Corpus, path: pathlib.Path) -> Vocabulary:
    """The vocabulary at `path`: the one that is there, or a copy of the prepared ids' or the config's, or a new one.

    Raises:
      InputError: it is larger than config.data.pieces, or cannot be made.
    """
    named = corpus.prepared.folder / "vocabulary.model" if corpus.prepared else data.vocabulary_file
    if path.exists():
        vocabulary = Vocabulary(path)
    elif named:
        given = Vocabulary(named)
        progress.say(f"vocabulary of {given.size} subwords from {named}")
        vocabulary = Vocabulary(files.write(path, given.path.read_bytes()))
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
