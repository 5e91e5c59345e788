"""The words of the dictionary with all their forms, read from entries in the manner of a dictionary.

    noun        teacher der Lehrer -s -         English, article, German, genitive, plural
    adjective   old alt älter ältest            English, German, and the comparison where the vowel changes;
                                                `*` after the English: not compared
    verb        wait_for = warten wartet wartete hat gewartet : auf acc
                                                infinitive, present, preterite, perfect : preposition and case

A genitive or plural `-x` is the noun with `x` added. English `_` joins a word of two words or, in a verb, stands
before the preposition; `+` stands before an adverb that may leave its verb (switch it on). English verbs name their
past and participle only where irregular. German `ein|schalten` is a separable verb.
"""

from dataclasses import dataclass

from mqa_jax.data.english_german import inflection
from mqa_jax.data.english_german.inflection import ACC, DAT


@dataclass(frozen=True, eq=False, slots=True)
class Noun:
    english: str
    english_plural: str
    gender: str  # m, f or n
    singular: tuple[str, ...]  # by case
    plural: tuple[str, ...]
    kind: str  # the table it stands in: it decides which verbs and adjectives go with the noun


@dataclass(frozen=True, eq=False, slots=True)
class Adjective:
    english: tuple[str, ...]  # positive, comparative, superlative; only the first if it is not compared
    german: str  # as a predicate
    stems: tuple[str, ...]  # positive, comparative, superlative; endings are added to them


@dataclass(frozen=True, eq=False, slots=True)
class Verb:
    base: str
    third: str
    past: str
    participle: str
    gerund: str
    particle: str  # on in switch it on
    preposition: str  # for in wait for it
    infinitive: str  # with the prefix
    prefix: str  # of a separable verb
    present: tuple[str, str, str]  # ich, er, sie plural
    preterite: tuple[str, str, str]
    german_participle: str
    auxiliary: str  # hat or ist
    reflexive: bool
    german_preposition: str
    case: int  # of the object


def entries(table: str) -> list[str]:
    return [entry.strip() for entry in table.split(",") if entry.strip()]


def nouns(kind: str, table: str) -> list[Noun]:
    return [_noun(kind, *entry.split()) for entry in entries(table)]


def _noun(kind: str, english: str, article: str, german: str, genitive: str, plural: str) -> Noun:
    def spell(form: str) -> str:
        return german + form[1:] if form[0] == "-" else form

    gender = {"der": "m", "die": "f", "das": "n"}[article]
    english = english.replace("_", " ")
    forms = inflection.noun_forms(german, spell(genitive), spell(plural), gender == "m")
    return Noun(english, inflection.english_plural(english), gender, *forms, kind)


def adjectives(table: str) -> list[Adjective]:
    return [_adjective(*entry.split()) for entry in entries(table)]


def _adjective(english: str, german: str, comparative: str = "", superlative: str = "") -> Adjective:
    stem, name = inflection.adjective_stem(german), english.rstrip("*")
    if english != name:
        return Adjective((name,), german, (stem,))
    regular = inflection.comparison(german)
    compared = (comparative or regular[0], superlative or regular[1])
    return Adjective((name, *inflection.english_comparison(name)), german, (stem, *compared))


def verbs(table: str) -> list[Verb]:
    return [verb(entry) for entry in entries(table)]


def verb(entry: str) -> Verb:
    english, _, german = entry.partition(" = ")
    german, _, government = german.partition(" : ")
    return Verb(**_english_forms(english), **_german_forms(german), **_government(government))


def _english_forms(english: str) -> dict:
    base, *irregular = english.split()
    base, _, particle = base.partition("+")
    first, *others = base.split("_")
    preposition = others.pop() if others else ""
    past = irregular[0] if irregular else inflection.past(first)
    forms = dict(
        base=first, third=inflection.third_person(first), past=past, participle=irregular[-1] if irregular else past
    )
    forms = {name: " ".join([form, *others]) for name, form in forms.items()}
    return forms | dict(
        gerund=" ".join([inflection.gerund(first), *others]), particle=particle, preposition=preposition
    )


def _german_forms(german: str) -> dict:
    words = german.split()
    reflexive = words[0] == "sich"
    infinitive, third, preterite, auxiliary, participle = words[reflexive:]
    prefix, _, stem = infinitive.rpartition("|")
    return dict(
        infinitive=prefix + stem,
        prefix=prefix,
        present=inflection.present(stem, third),
        preterite=inflection.preterite(preterite),
        german_participle=prefix + participle,
        auxiliary=auxiliary,
        reflexive=reflexive,
    )


def _government(government: str) -> dict:
    *preposition, case = government.split() or ["acc"]
    return dict(german_preposition=" ".join(preposition), case={"acc": ACC, "dat": DAT}[case])


def pairs(table: str) -> list[tuple[str, str]]:
    """`today = heute, soon = bald`."""
    return [(english, german) for english, german in (entry.split(" = ") for entry in entries(table))]
