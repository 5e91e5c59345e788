"""Words outside a list become `UNK`, as results on the Billion-Word benchmark have it.

The list is a file of a word a line, or of a word and its count. Words are what white space separates; the white space
stays as it is. So a line keeps its number of words, which a perplexity per word divides by.
"""

import functools
import re
from collections.abc import Sequence

from mqa_jax.data.corpus import Lines
from mqa_jax.data.text import read_lines
from mqa_jax.errors import InputError

UNK = "UNK"  # a word of the text, not the vocabulary's id of that name


@functools.lru_cache(maxsize=1)  # lines that are typed come one by one
def known_words(path: str) -> frozenset[str]:
    """The words of config.data.unk. Empty lines hold none.

    Raises:
      InputError: the file cannot be read, holds no word, or a line is neither `word` nor `word count`.
    """
    words = set()
    try:
        lines = read_lines(path)
    except InputError as error:
        raise InputError(f"config.data.unk={path}: {error}") from error
    for number, line in enumerate(lines, 1):
        # A word of the benchmark may hold a no-break space, so these two alone separate it from its count.
        word, *count = re.split("[ \t]+", line.strip(" \t"))
        if len(count) > 1 or not all(map(str.isdecimal, count)):
            raise InputError(
                f"config.data.unk={path}, line {number} is not a word, or a word and its count; name a file of words"
            )
        words.add(word)
    if not words - {""}:
        raise InputError(f"config.data.unk={path} holds no words; give it one a line")
    return frozenset(words)


def replaced(lines: Sequence[str], path: str) -> Sequence[str]:
    """The lines with each word outside the file `path` as `UNK`; as they are where no file is named."""
    if not path:
        return lines
    known = known_words(path)

    def of(line: str) -> str:
        if known.issuperset(line.split()):  # most lines, and much faster
            return line
        return re.sub(r"\S+", lambda found: found[0] if found[0] in known else UNK, line)

    return Lines(len(lines), lambda some: [of(line) for line in lines[some]])
