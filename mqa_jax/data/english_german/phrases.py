"""Noun phrases, places and times of the generated language pair, in English and German at once.

English is decided on the spot; a German noun phrase is kept in all four cases until its verb or preposition
asks for one.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from mqa_jax.data.english_german import lexicon
from mqa_jax.data.english_german.inflection import (
    DAT,
    DEFINITE,
    GEN,
    MIXED,
    NOM,
    STRONG,
    WEAK,
    Table,
    der_word,
    ein_word,
    english_number,
    english_ordinal,
    fixed,
    german_number,
    german_ordinal,
    possessive,
    with_article,
)
from mqa_jax.data.english_german.words import Noun

T = TypeVar("T")


class Dice(random.Random):
    """Seeded choices. Only `random()` is promised to be the same in every version of Python."""

    # Of the sentence under way: how many relative clauses it may still have, and the tense of its clause.
    relatives = 0
    tense = "present"

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.random() * len(options))]

    def word(self, table: Sequence[T]) -> T:
        """One of a table: as in any language, few words are frequent and most are rare, here those further down.

        The k-th word has a frequency of about k^(-2/3); the first tenth of a table makes up half of the text.
        """
        roll = self.random()
        return table[int(roll * roll * roll * len(table))]

    def chance(self, probability: float) -> bool:
        return self.random() < probability


class Phrase(NamedTuple):
    english: str
    german: str


NOTHING = Phrase("", "")


@dataclass(slots=True)
class Nominal:
    """A noun phrase or pronoun."""

    english: str  # as a subject
    object: str  # otherwise: him, not he
    german: tuple[str, ...]  # by case
    gender: str  # m, f, n or p: of the German noun
    kind: str  # of the noun, see lexicon
    agreement: int = 1  # of the verb: 0 I, 1 he, 2 we and they
    definite: bool = True
    specific: bool = True  # a subject that a negation cannot reach: not all, every, many
    negative: bool = False  # kein
    pronoun: bool = False
    open: bool = False  # it may take a relative clause
    relative: str = ""  # its German relative clause, which is not part of `german`; the English one is of `english`


class Determiner(NamedTuple):
    english: str
    german: Table
    endings: Table  # of the adjectives that follow
    definite: bool = True
    specific: bool = True
    negative: bool = False
    open: bool = True  # what it starts may take a relative clause
    genitive: str = ""  # what it puts after the German noun: the teacher's house, das Haus des Lehrers


def _total(english: str, german: str) -> Determiner:
    return Determiner(english, der_word(german), WEAK, specific=False)


def _quantity(english: str, german: str) -> Determiner:
    return Determiner(english, der_word(german), STRONG, definite=False, specific=False)


def _possessive(english: str, german: str) -> Determiner:
    return Determiner(english, ein_word(german), MIXED, open=False)


THE = Determiner("the", DEFINITE, WEAK)
_THIS, _THESE = (Determiner(english, der_word("dies"), WEAK) for english in ("this", "these"))
_THAT, _THOSE = (Determiner(english, der_word("jen"), WEAK) for english in ("that", "those"))
_EVERY, _ALL, _BOTH = _total("every", "jed"), _total("all the", "all"), _total("both", "beid")
A = Determiner("a", ein_word("ein"), MIXED, definite=False, specific=False)
NO = A._replace(english="no", german=ein_word("kein"))
NOT_A = A._replace(german=ein_word("kein"), negative=True)  # does not buy a lamp: kauft keine Lampe
NOT_ANY = NOT_A._replace(english="any")
BARE = Determiner("", fixed(""), STRONG, definite=False, specific=False)
_MANY, _SOME = _quantity("many", "viel"), _quantity("some", "einig")
_SEVERAL, _FEW = _quantity("several", "mehrer"), _quantity("few", "wenig")
_MY, _OUR = _possessive("my", "mein"), _possessive("our", "unser")
_HIS, _HER, _THEIR = _possessive("his", "sein"), _possessive("her", "ihr"), _possessive("their", "ihr")
_ITS = {"m": _possessive("its", "sein"), "f": _possessive("its", "ihr"), "n": _possessive("its", "sein")}

# What to choose from, the more often the more likely.
SINGULAR = [THE] * 14 + [A] * 9 + [_THIS, _THIS, _THAT, _EVERY, _MY, _MY, _OUR]
PLURAL = [THE] * 6 + [BARE] * 3 + [_THESE, _THOSE, _ALL, _BOTH, _MANY, _SOME, _SEVERAL, _FEW, _MY, _OUR]
NEGATED_SINGULAR = [THE] * 6 + [NOT_A] * 6 + [_THIS, _THAT, _MY]
NEGATED_PLURAL = [THE] * 3 + [NOT_ANY] * 4 + [_THESE, _THOSE, _OUR]
KNOWN = [THE] * 8 + [_THIS, _THIS, _THAT, _MY, _OUR]
THERE_IS = ([A, A, A, NO], [_MANY, _SOME, _SEVERAL, BARE])  # in the singular, in the plural

PRONOUNS = {
    name: Nominal(english, object, tuple(german.split()), gender, "person", agreement, pronoun=True)
    for name, english, object, german, gender, agreement in (
        ("I", "I", "me", "ich mich mir", "m", 0),
        ("we", "we", "us", "wir uns uns", "p", 2),
        ("he", "he", "him", "er ihn ihm", "m", 1),
        ("she", "she", "her", "sie sie ihr", "f", 1),
        ("they", "they", "them", "sie sie ihnen", "p", 2),
        ("m", "it", "it", "er ihn ihm", "m", 1),
        ("f", "it", "it", "sie sie ihr", "f", 1),
        ("n", "it", "it", "es es ihm", "n", 1),
    )
}

IT = PRONOUNS["n"]


def anaphor(nominal: Nominal) -> Nominal | None:
    """The pronoun that takes up a noun phrase, in German by the gender of its noun; None for das Kind: er or es?"""
    if nominal.pronoun:
        return nominal
    if nominal.gender == "p":
        return replace(PRONOUNS["they"], kind=nominal.kind)
    if nominal.kind == "person":
        return PRONOUNS["he"] if nominal.gender == "m" else PRONOUNS["she"] if nominal.gender == "f" else None
    return replace(PRONOUNS[nominal.gender], kind=nominal.kind)


def reflexive(nominal: Nominal) -> str:
    return {"ich": "mich", "wir": "uns"}.get(nominal.german[NOM], "sich")


def noun_phrase(dice: Dice, noun: Noun, owner: Nominal | None = None, negated=False, plain=False) -> Nominal:
    """A noun phrase around the noun: any determiner, adjectives, attributes.

    Args:
      owner: the subject of the clause, to whom his, her or their may refer.
      negated: the clause is negated, so an indefinite phrase says kein.
      plain: no attribute after the noun.
    """
    plural = dice.chance(0.28) and noun.kind != "drink"
    determiner = _negated(dice, plural) if negated else _determiner(dice, noun, plural, owner)
    nominal = inflect(dice, noun, plural, determiner)
    return nominal if plain or determiner is not THE else _attribute(dice, noun, nominal)


def _negated(dice: Dice, plural: bool) -> Determiner:
    return dice.pick(NEGATED_PLURAL if plural else NEGATED_SINGULAR)


def _determiner(dice: Dice, noun: Noun, plural: bool, owner: Nominal | None) -> Determiner:
    roll = dice.random()
    if roll < 0.08 and owner:
        return _of_owner(owner)
    if roll < 0.12:
        return _named(dice)
    if roll < 0.17:
        return _owned(dice, noun)
    if roll < 0.24 and plural:
        return counted(dice)
    return dice.pick(PLURAL if plural else SINGULAR)


def _of_owner(owner: Nominal) -> Determiner:
    """his, her, its, their; the cat and its ball, die Katze und ihr Ball."""
    pronoun = anaphor(owner)
    if not pronoun:
        return THE
    if pronoun.english == "it":
        return _ITS[pronoun.gender]
    return {"I": _MY, "we": _OUR, "he": _HIS, "she": _HER, "they": _THEIR}[pronoun.english]


def _named(dice: Dice) -> Determiner:
    """Anna's new lamp, Annas neue Lampe."""
    name = person_name(dice)
    return Determiner(possessive(name.english), fixed(name.german[GEN]), STRONG, open=False)


def _owned(dice: Dice, noun: Noun) -> Determiner:
    """The old teacher's lamp, die Lampe des alten Lehrers."""
    person = dice.word(lexicon.NOUNS["person"])
    if person is noun:
        return THE
    owner = inflect(dice, person, dice.chance(0.2), THE)
    return Determiner(
        possessive(owner.english, owner.gender == "p"), DEFINITE, WEAK, open=False, genitive=f" {owner.german[GEN]}"
    )


def counted(dice: Dice) -> Determiner:
    """Twenty-two, mostly fewer."""
    count = 2 + int(dice.pick((11, 11, 98, 98, 900)) * dice.random())
    if count % 100 == 1:
        count += 1
    return Determiner(english_number(count), fixed(german_number(count)), STRONG, definite=False, specific=False)


def inflect(dice: Dice, noun: Noun, plural: bool, determiner: Determiner) -> Nominal:
    """A noun phrase with any adjectives."""
    return decline(determiner, _adjectives(dice, noun, determiner), noun, plural)


def decline(determiner: Determiner, adjectives: Sequence[tuple[str, str]], noun: Noun, plural: bool = False) -> Nominal:
    """Determiner, adjectives (English words, German stems) and noun, agreeing in gender, number and case."""
    forms, row = (noun.plural, "p") if plural else (noun.singular, noun.gender)
    english = " ".join([word for word, _ in adjectives] + [noun.english_plural if plural else noun.english])
    german = []
    for word, ending, form in zip(determiner.german[row], determiner.endings[row], forms, strict=True):
        words = [word, *(stem + ending for _, stem in adjectives), form]
        german.append(" ".join(words).lstrip() + determiner.genitive)
    english = with_article(english) if determiner.english == "a" else f"{determiner.english} {english}".lstrip()
    return Nominal(
        english,
        english,
        tuple(german),
        row,
        noun.kind,
        agreement=2 if plural else 1,
        definite=determiner.definite,
        specific=determiner.specific,
        negative=determiner.negative,
        open=determiner.open,
    )


def _adjectives(dice: Dice, noun: Noun, determiner: Determiner) -> list[tuple[str, str]]:
    """English words and German stems."""
    roll = dice.random()
    if roll < 0.5:
        return []
    if roll < 0.52 and determiner is THE:
        ordinal = 1 + int(dice.random() * 12)
        return [(english_ordinal(ordinal), german_ordinal(ordinal))]
    adjective = dice.word(lexicon.ADJECTIVES[noun.kind])
    if roll < 0.58 and len(adjective.stems) == 3:
        if determiner is THE:
            return [(adjective.english[2], adjective.stems[2])]
        if determiner is A:
            return [(adjective.english[1], adjective.stems[1])]
        return [(f"very {adjective.english[0]}", f"sehr {adjective.stems[0]}")]
    first = (adjective.english[0], adjective.stems[0])
    if roll > 0.94 and noun.kind in lexicon.COLOURED and len(adjective.stems) == 3:
        colour = dice.word(lexicon.COLOURS)
        return [first, (colour.english[0], colour.stems[0])]
    return [first]


def _attribute(dice: Dice, noun: Noun, nominal: Nominal) -> Nominal:
    """the man with the red hat; the door of the old house."""
    if dice.chance(0.88):
        return nominal
    if noun.kind == "person":
        clothes = dice.word(lexicon.NOUNS["clothes"])
        inner = inflect(dice, clothes, False, dice.pick((THE, A)))
        return _extend(nominal, f" with {inner.object}", f" mit {inner.german[DAT]}")
    if noun.kind in lexicon.PART_OF:
        inner = inflect(dice, dice.word(lexicon.NOUNS[lexicon.PART_OF[noun.kind]]), False, dice.pick((THE, THE, _THIS)))
        if inner.german[GEN].split()[-1] != noun.singular[GEN]:
            return _extend(nominal, f" of {inner.object}", f" {inner.german[GEN]}")
    return nominal


def _extend(nominal: Nominal, english: str, german: str) -> Nominal:
    forms = tuple(form + german for form in nominal.german)
    english = nominal.english + english
    return replace(nominal, english=english, object=english, german=forms, open=False)


def compound(dice: Dice, noun: Noun) -> Noun:
    """garden + chair, Garten + Stuhl."""
    english, german = dice.word(lexicon.COMPOUNDS[noun.kind])

    def join(forms: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(german + form[0].lower() + form[1:] for form in forms)

    return replace(
        noun,
        english=f"{english} {noun.english}",
        english_plural=f"{english} {noun.english_plural}",
        singular=join(noun.singular),
        plural=join(noun.plural),
    )


def person_name(dice: Dice) -> Nominal:
    """Anna; Anna Steinbach; Mr Steinbach, in the genitive Herrn Steinbachs."""
    gender = dice.pick("mf")
    first = dice.pick(lexicon.FIRST_NAMES[gender])
    roll = dice.random()
    if roll < 0.5:
        return _name(first, first, first, gender)
    last = dice.pick(lexicon.SURNAMES[0]) + dice.pick(lexicon.SURNAMES[1])
    if roll < 0.6:
        return _name(f"{first} {last}", f"{first} {last}", f"{first} {last}", gender)
    title, german, oblique = ("Mr", "Herr", "Herrn") if gender == "m" else ("Mrs", "Frau", "Frau")
    return _name(f"{title} {last}", f"{german} {last}", f"{oblique} {last}", gender)


def _name(english: str, german: str, oblique: str, gender: str) -> Nominal:
    return Nominal(english, english, (german, oblique, oblique, oblique + "s"), gender, "person")


def join(first: Nominal, second: Nominal, english: str, german: str) -> Nominal:
    """Two noun phrases as one; `english` and `german` have two places, as in `both {} and {}`."""
    return Nominal(
        english.format(first.english, second.english),
        english.format(first.object, second.object),
        tuple(german.format(*pair) for pair in zip(first.german, second.german, strict=True)),
        "p",
        first.kind,
        agreement=2,
        definite=first.definite and second.definite,
        specific=False,
    )
