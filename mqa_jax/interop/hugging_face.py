"""A model in a folder as Hugging Face lays it out: config.json, safetensors, a tokenizer. Pickles are never read."""

import json
import pathlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import safetensors
import tokenizers
from safetensors.numpy import save_file

from mqa_jax import files
from mqa_jax.data.vocabulary import SPECIAL, SentencePiece, Vocabulary
from mqa_jax.errors import InputError
from mqa_jax.tokens import UNK

DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
SPACE = "▁"  # what SentencePiece has for one
SHARD = 2 * 2**30  # bytes of a file, about


class Folder:
    """The files of a model in Hugging Face's folder, mapped into memory.

    Attributes:
      config: what config.json has.
      names: of the tensors. `shape` gives one's shape without reading it, `read` the tensor in a type of floats.
    """

    def __init__(self, path: pathlib.Path):
        """
        Raises:
          InputError: a file is missing or damaged, or tensors are of a type that is not read.
        """
        self.path, self.config = path, _json(path / "config.json")
        if not (path / INDEX).exists() and not (path / SINGLE).exists():
            pickled = next(path.glob("pytorch_model*.bin"), None)
            if pickled:
                raise InputError(
                    f"{pickled} is a pickle, which may run any code and is not read; write the model as safetensors: "
                    "transformers' save_pretrained(FOLDER, safe_serialization=True)"
                )
            raise InputError(f"{path} holds no {SINGLE} and no {INDEX}; name a folder that does")
        shards = {SINGLE}
        if (path / INDEX).exists():
            shards = set(_json(path / INDEX).get("weight_map", {}).values())
        self._of: dict[str, Any] = {}
        for shard in sorted(shards):
            if not (path / shard).exists():
                raise InputError(f"{path / shard} is missing, which {INDEX} names; fetch it")
            try:
                held = safetensors.safe_open(path / shard, framework="np")
            except safetensors.SafetensorError as error:
                raise InputError(f"{path / shard} is damaged ({error}); fetch it again") from error
            self._of |= dict.fromkeys(held.keys(), held)
        self.names: Iterable[str] = self._of.keys()
        for name, held in self._of.items():
            if (dtype := held.get_slice(name).get_dtype()) not in DTYPES:
                raise InputError(
                    f"{path} has {name} of type {dtype}, which is not read; save it in {', '.join(DTYPES)}"
                )

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._of[name].get_slice(name).get_shape())

    def read(self, name: str) -> np.ndarray:
        return self._of[name].get_tensor(name)

    @property
    def dtype(self) -> str:
        """The type of most tensors."""
        found = [held.get_slice(name).get_dtype() for name, held in self._of.items()]
        return DTYPES[max(set(found), key=found.count)]

    def vocabulary(self) -> tuple[str, bytes]:
        """The suffix and content of a vocabulary's file (data/vocabulary.py)."""
        if (self.path / "tokenizer.json").exists():
            ids = {**self.config}
            if (self.path / "generation_config.json").exists():
                ids |= {key: value for key, value in _json(self.path / "generation_config.json").items() if value}
            return ".json", vocabulary(_json(self.path / "tokenizer.json"), ids, str(self.path))
        if (self.path / "tokenizer.model").exists():
            return ".model", (self.path / "tokenizer.model").read_bytes()
        raise InputError(f"{self.path} holds no tokenizer.json and no tokenizer.model; fetch one of them")


def vocabulary(tokenizer: Mapping[str, Any], ids: Mapping[str, Any], place: str) -> bytes:
    """The content of a `vocabulary.json`. Without a token that begins texts, the one that ends them does."""
    first = lambda value: value[0] if isinstance(value, list) and value else value  # noqa: E731
    eos = first(ids.get("eos_token_id"))
    if not isinstance(eos, int):
        raise InputError(f"{place} has eos_token_id={eos!r}; a model needs a token that ends a text")
    bos = first(ids.get("bos_token_id"))
    held = {"bos": bos if isinstance(bos, int) else eos, "eos": eos, "tokenizer": tokenizer}
    return json.dumps(held, ensure_ascii=False).encode()


def write(
    folder: pathlib.Path, config: Mapping[str, Any], tensors: Iterable[tuple[str, np.ndarray]], dtype: str
) -> None:
    """Writes config.json and the tensors, in files of about two gigabytes.

    Args:
      tensors: names and values; taken one at a time, kept until their file is full.
      dtype: what they are stored in.
    """
    files.write(folder / "config.json", json.dumps({**config, "torch_dtype": dtype}, indent=2) + "\n")
    shards: list[list[str]] = []
    held: dict[str, np.ndarray] = {}
    total = 0

    def end() -> None:
        save_file(held, folder / f"{len(shards)}.part", metadata={"format": "pt"})
        shards.append(list(held))
        held.clear()

    for name, array in tensors:
        held[name] = np.ascontiguousarray(array)
        total += array.nbytes
        if sum(each.nbytes for each in held.values()) >= SHARD:
            end()
    if held:
        end()
    names = [f"model-{n + 1:05}-of-{len(shards):05}.safetensors" for n in range(len(shards))]
    names = [SINGLE] if len(shards) == 1 else names
    for number, name in enumerate(names):
        (folder / f"{number}.part").rename(folder / name)
    if len(shards) > 1:
        weight_map = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        files.write(folder / INDEX, json.dumps(index, indent=2) + "\n")


def write_vocabulary(folder: pathlib.Path, words: Vocabulary) -> None:
    """Writes the tokenizer and who begins and ends a text.

    Raises:
      InputError: there is no tokenizer outside that does the same.
    """
    if isinstance(words, SentencePiece) and not words.is_ours:  # it came so
        shutil.copyfile(words.path, folder / "tokenizer.model")
        kind = "LlamaTokenizer"
    else:
        made = _unigram(words) if isinstance(words, SentencePiece) else _json(words.path)["tokenizer"]
        files.write(folder / "tokenizer.json", json.dumps(made, ensure_ascii=False))
        kind = "PreTrainedTokenizerFast"
    names = {f"{name}_token": words.piece(id) for name, id in (("bos", words.bos), ("eos", words.eos))}
    about = {"tokenizer_class": kind, **names, "add_bos_token": True}
    files.write(folder / "tokenizer_config.json", json.dumps(about, indent=2) + "\n")
    ids = {"bos_token_id": words.bos, "eos_token_id": words.eos}
    files.write(folder / "generation_config.json", json.dumps(ids, indent=2) + "\n")


def _unigram(words: SentencePiece) -> dict[str, Any]:
    """A SentencePiece model of ours, which leaves text as it is, for `tokenizers`. Texts begin with BOS."""
    pieces = [(words.piece(id), words.processor.get_score(id)) for id in range(words.size)]
    made = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, UNK, byte_fallback=True))
    normalizers, decoders = tokenizers.normalizers, tokenizers.decoders
    made.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    made.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = [words.piece(id) for id in SPECIAL.values()]
    made.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in special])
    bos = words.piece(words.bos)
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, words.bos)]
    )
    return json.loads(made.to_str())


def write_card(folder: pathlib.Path, title: str, known: Sequence[Mapping[str, Any]]) -> None:
    """Writes the model card: what the run's records say of how it was made and how good it is."""
    rows = []
    for record in known:
        if record["kind"] in ("import", "convert"):
            rows.append(f"| made by | `{record['command']}` |")
        if record["kind"] == "train":
            rows.append(f"| trained | {record['steps']:,} steps on {record['data']} |")
        if record["kind"] == "perplexity":
            figure = f"{record['nll_per_token']:.4f} nats a token, {record['tokens']:,} tokens"
            rows.append(f"| {record['split']} ({record['split_from']}) | {figure} |")
    table = "\n".join(["| | |", "|---|---|", *rows]) if rows else "No records."
    header = "---\nlibrary_name: transformers\npipeline_tag: text-generation\n---"
    files.write(folder / "README.md", f"{header}\n\n# {title}\n\nWritten by mqa_jax.\n\n{table}\n")


def _json(path: pathlib.Path) -> dict[str, Any]:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing; name a folder that has it") from None
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}); fetch it again") from error
    if not isinstance(held, dict):
        raise InputError(f"{path} holds no JSON object; fetch it again")
    return held
