"""Words and phrases of the lexicon by their English, and a clause in each of its orders, for tests of the grammar."""

import itertools

from mqa_jax.data.english_german import lexicon, phrases
from mqa_jax.data.english_german.clauses import (
    PLACE,
    TIME,
    WHEN,
    WHERE,
    Clause,
    Part,
)
from mqa_jax.data.english_german.phrases import Nominal, Phrase, anaphor, decline
from mqa_jax.data.english_german.words import Verb

NOUNS = list(itertools.chain(*lexicon.NOUNS.values()))
DETERMINERS = phrases.SINGULAR + phrases.PLURAL + phrases.NEGATED_PLURAL + [phrases.NO]
VERBS = list(itertools.chain(*lexicon.VERBS.values()))
for value in vars(lexicon).values():
    VERBS += [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, Verb)]


def noun_phrase(english: str) -> Nominal:
    """`the old man`, from the lexicon: determiner, adjective or none, noun."""
    *front, last = english.split()
    noun, plural = next((each, each.english != last) for each in NOUNS if last in (each.english, each.english_plural))
    found = [each for each in itertools.chain(*lexicon.ADJECTIVES.values()) if front and each.english[0] == front[-1]]
    chosen = [(front.pop(), found[0].stems[0])] if found else []
    name = " ".join(front)
    determiner = next(each for each in DETERMINERS if each.english == ("a" if name == "an" else name))
    return decline(determiner, chosen, noun, plural)


def verb_of(infinitive: str) -> Verb:
    return next(each for each in VERBS if each.infinitive == infinitive)


def name(english: str, gender: str) -> Nominal:
    return Nominal(english, english, (english, english, english, english + "s"), gender, "person")


def pronoun(english: str) -> Nominal:
    found = anaphor(noun_phrase(english))
    assert found
    return found


ANNA, MAN = name("Anna", "f"), noun_phrase("the old man")
YESTERDAY = Part("yesterday", "gestern", TIME, WHEN)
IN_THE_GARDEN = Part("in the garden", "im Garten", PLACE, WHERE)


def orders(clause: Clause, front: Phrase = Phrase("", "")) -> list[str]:
    """English, German main clause, the same as a question, and as a subordinate clause."""
    told = (
        clause.english(front.english),
        clause.german(front.german or None),
        clause.german(""),
        clause.german_final("weil"),
    )
    return [" ".join(each.split()) for each in told]
