"""The generated language pair: the same for a seed, split without overlap, and German in what can be checked."""

import hashlib
import itertools
import re

import pytest
from german import NOUNS, VERBS

from mqa_jax.data import grammar
from mqa_jax.data.english_german import lexicon
from mqa_jax.data.english_german.clauses import (
    MODALS,
)


@pytest.fixture(scope="module")
def stream():
    return list(itertools.islice(grammar.stream(seed=3), 50_000))


@pytest.fixture(scope="module")
def pairs(stream):
    return list(dict.fromkeys(stream))[:20_000]


def test_same_seed_same_pairs():
    assert grammar.pairs(500, seed=1) == grammar.pairs(500, seed=1)
    assert grammar.pairs(500, seed=1) != grammar.pairs(500, seed=2)
    assert grammar.pairs(500, seed=1) == grammar.pairs(800, seed=1)[:500]


def test_golden():
    """The same on every Python: a change here makes every earlier result on this task incomparable."""
    assert grammar.pairs(4, seed=0) == [
        (
            "A thirsty doctor asks of how many big camels every famous boss will think.",
            "Ein durstiger Arzt fragt, an wie viele große Kamele jeder berühmte Chef denken wird.",
        ),
        (
            "Unfortunately the doctor forgave Mrs Weinbaum last week.",
            "Leider verzieh der Arzt letzte Woche Frau Weinbaum.",
        ),
        (
            "As always the clever inspector who reported my very strange danger to every hard-working woman thought "
            "that he had run to the hospital.",
            "Wie immer dachte der kluge Kommissar, der jeder fleißigen Frau meine sehr seltsame Gefahr meldete, dass "
            "er zum Krankenhaus gelaufen war.",
        ),
        (
            "Unfortunately all the very clever grandmothers should be young next year.",
            "Leider sollten alle sehr klugen Großmütter nächstes Jahr jung sein.",
        ),
    ]
    fingerprint = hashlib.sha256(repr(grammar.pairs(2_000, seed=0)).encode()).hexdigest()
    assert fingerprint.startswith("31c16c87cf4e553d")


def test_splits_are_disjoint():
    splits = grammar.splits(3_000, seed=0, held_out=200)
    assert {name: len(split) for name, split in splits.items()} == {"train": 3_000, "dev": 200, "test": 200}
    for side in (0, 1):
        sentences = [pair[side] for split in splits.values() for pair in split]
        assert len(set(sentences)) == 3_400
    other = grammar.splits(100, seed=0, held_out=200)
    assert (other["dev"], other["test"]) == (splits["dev"], splits["test"])


def test_description_says_generated():
    assert "generated" in grammar.DESCRIPTION and "\n" not in grammar.DESCRIPTION


def test_no_sentence_has_two_translations(stream):
    german_of = {}
    for english, german in stream:
        assert german_of.setdefault(english, german) == german


def test_spelling(pairs):
    letters = r"[A-Za-z',\- ]"
    for english, german in pairs:
        assert re.fullmatch(rf"[A-Z]{letters}*[.?]", english)
        assert re.fullmatch(r"[A-ZÄÖÜ][A-Za-zÄÖÜäöüß, ]*[.?]", german)
        assert english[-1] == german[-1]
        for sentence in (english, german):
            assert "  " not in sentence and " ," not in sentence and not re.search(",[^ ]|,[.?]", sentence)


def test_length(pairs):
    lengths = [len(english.split()) for english, _ in pairs]
    assert max(lengths) <= 30
    assert 11 <= sum(lengths) / len(lengths) <= 15


def test_a_and_an(pairs):
    following = {match for english, _ in pairs for match in re.findall(r"\b([Aa]n?) (\w+)", english)}
    for article, word in following:
        vowel = (word[0] in "aeiou" and word not in ("useful", "uniform", "university")) or word in ("honest",)
        assert article.lower() == ("an" if vowel else "a"), word


FINITE = {prefix + form for each in VERBS for form in each.present + each.preterite for prefix in ("", each.prefix)}
FINITE |= set(itertools.chain(*MODALS.values()))


def test_verb_second(pairs):
    """After a time or a comment at the head of the sentence comes the verb."""
    fronts = [german.lower() for table in (lexicon.COMMENTS, *lexicon.TIMES.values()) for _, german in table]
    fronts.sort(key=len, reverse=True)
    after = re.compile(rf"(?:{'|'.join(fronts)}) (\w+)", re.IGNORECASE)
    found = [(match[1], german) for _, german in pairs if (match := after.match(german))]
    assert len(found) > 500
    for word, german in found:
        assert word in FINITE, german


def test_verb_last(pairs):
    """In a subordinate clause at the end of the sentence."""
    last = re.compile(r", (?:dass|weil|ob|obwohl|bevor|sobald|nachdem) (?:[^,]* )?(\w+)[.]$")
    found = [(match[1], german) for _, german in pairs if (match := last.search(german))]
    assert len(found) > 500
    for word, german in found:
        assert word in FINITE, german


def test_relative_pronouns_agree_with_their_heads(pairs):
    genders = {}
    for each in NOUNS:
        for gender, form in [*((each.gender, form) for form in each.singular), *(("p", form) for form in each.plural)]:
            genders.setdefault(form, set()).add(gender)
    fits = {"der": "mf", "die": "fp", "das": "n", "den": "m", "dem": "mn", "denen": "p", "dessen": "mn", "deren": "fp"}
    relative = re.compile(rf"(\w+), ({'|'.join(fits)}) ")
    infinitive = re.compile(r"\b(to|without|instead)\b")  # versucht, der Frau zu helfen
    found = [match for english, german in pairs if not infinitive.search(english) for match in relative.findall(german)]
    assert len(found) > 1_000
    for head, pronoun in found:
        assert head not in genders or genders[head] & set(fits[pronoun]), (head, pronoun)
