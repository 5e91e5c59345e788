"""The forms of English and German words: what the lexicon is spelled with and the grammar inflects by.

German tables are read as in a school grammar: a row for each gender (m, f, n and p for the plural of all
three), a column for each case (nominative, accusative, dative, genitive).
"""

import re

NOM, ACC, DAT, GEN = range(4)

Table = dict[str, tuple[str, ...]]


def _table(m: str, f: str, n: str, p: str, stem: str = "") -> Table:
    """Four rows of four endings; `*` is the empty ending, `stem` goes before each."""
    rows = dict(m=m, f=f, n=n, p=p)
    return {gender: tuple(stem + ending.strip("*") for ending in row.split()) for gender, row in rows.items()}


DEFINITE = _table("der den dem des", "die die der der", "das das dem des", "die die den der")
RELATIVE = _table("der den dem dessen", "die die der deren", "das das dem dessen", "die die denen deren")

# Adjective endings: after der-words, after ein-words, after nothing that shows the case.
WEAK = _table("e en en en", "e e en en", "e e en en", "en en en en")
MIXED = _table("er en en en", "e e en en", "es es en en", "en en en en")
STRONG = _table("er en em en", "e e er er", "es es em en", "e e en er")


def der_word(stem: str) -> Table:
    """dieser, jener, jeder, welcher, aller."""
    return _table("er en em es", "e e er er", "es es em es", "e e en er", stem)


def ein_word(stem: str) -> Table:
    """ein, kein and the possessives mein, sein, ihr, unser."""
    return _table("* en em es", "e e er er", "* * em es", "e e en er", stem)


def fixed(word: str) -> Table:
    """A word in front of a noun that never changes: a number, a name in the genitive, nothing at all."""
    return dict.fromkeys("mfnp", (word,) * 4)


def noun_forms(singular: str, genitive: str, plural: str, masculine: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The four cases of the singular and of the plural."""
    weak = masculine and genitive == plural and genitive.endswith("n")  # der Student, den Studenten
    oblique = genitive if weak else singular
    dative_plural = plural if plural[-1] in "ns" else plural + "n"
    return (singular, oblique, oblique, genitive), (plural, plural, dative_plural, plural)


def adjective_stem(adjective: str) -> str:
    """What the endings are added to: müde -> müd-, dunkel -> dunkl-, teuer -> teur-."""
    if adjective.endswith(("el", "auer", "euer")):
        return adjective[:-2] + adjective[-1]
    return adjective.removesuffix("e")


def comparison(adjective: str) -> tuple[str, str]:
    """Comparative and superlative stem without change of vowel: schwer -> schwerer, schwerst-."""
    hard = adjective.endswith(("d", "t", "s", "ß", "z", "sch")) and not adjective.endswith("end")
    return adjective_stem(adjective) + "er", adjective + ("est" if hard else "st")


def present(infinitive: str, third: str) -> tuple[str, str, str]:
    """(ich, er, sie plural)."""
    if infinitive in ("sein", "werden"):
        return {"sein": ("bin", "ist", "sind"), "werden": ("werde", "wird", "werden")}[infinitive]
    if not third.endswith("t"):  # weiß and the modal verbs
        return third, third, infinitive
    if infinitive.endswith("eln"):
        return infinitive[:-3] + "le", third, infinitive
    return (infinitive[:-1] if infinitive.endswith("rn") else infinitive[:-2]) + "e", third, infinitive


def preterite(third: str) -> tuple[str, str, str]:
    """(ich, er, sie plural)."""
    return third, third, third + ("n" if third.endswith("e") else "en")


_SMALL = """zero null, one ein, two zwei, three drei, four vier, five fünf, six sechs, seven sieben, eight acht,
nine neun, ten zehn, eleven elf, twelve zwölf, thirteen dreizehn, fourteen vierzehn, fifteen fünfzehn,
sixteen sechzehn, seventeen siebzehn, eighteen achtzehn, nineteen neunzehn"""
_TENS = """- -, - -, twenty zwanzig, thirty dreißig, forty vierzig, fifty fünfzig, sixty sechzig, seventy siebzig,
eighty achtzig, ninety neunzig"""
_ENGLISH_SMALL, _GERMAN_SMALL = zip(*(pair.split() for pair in _SMALL.split(",")), strict=True)
_ENGLISH_TENS, _GERMAN_TENS = zip(*(pair.split() for pair in _TENS.split(",")), strict=True)


def german_number(n: int) -> str:
    """1 to 999 as it stands before a noun: zweiundzwanzig."""
    hundreds, rest = divmod(n, 100)
    tens, ones = divmod(rest, 10)
    word = f"{_GERMAN_SMALL[hundreds]}hundert" if hundreds else ""
    if rest < 20:
        return word + (_GERMAN_SMALL[rest] if rest else "")
    return word + (f"{_GERMAN_SMALL[ones]}und" if ones else "") + _GERMAN_TENS[tens]


def english_number(n: int) -> str:
    """1 to 999: three hundred and twenty-two."""
    hundreds, rest = divmod(n, 100)
    tens, ones = divmod(rest, 10)
    words = [f"{_ENGLISH_SMALL[hundreds]} hundred"] if hundreds else []
    if 0 < rest < 20:
        words.append(_ENGLISH_SMALL[rest])
    elif rest:
        words.append(_ENGLISH_TENS[tens] + (f"-{_ENGLISH_SMALL[ones]}" if ones else ""))
    return " and ".join(words)


_GERMAN_ORDINALS = {1: "erst", 3: "dritt", 7: "siebt", 8: "acht"}
_ENGLISH_ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth"}
_ENGLISH_ORDINALS |= {"eight": "eighth", "nine": "ninth", "twelve": "twelfth"}


def german_ordinal(n: int) -> str:
    """The stem for 1 to 31: dritt-, einundzwanzigst-."""
    return _GERMAN_ORDINALS.get(n) or german_number(n) + ("t" if n < 20 else "st")


def english_ordinal(n: int) -> str:
    """1 to 31: third, twenty-first."""
    head, dash, last = english_number(n).rpartition("-")
    return head + dash + (_ENGLISH_ORDINALS.get(last) or re.sub("y$", "ie", last) + "th")


_PLURALS = {
    **dict(man="men", child="children", mouse="mice", goose="geese", wolf="wolves", calf="calves", knife="knives"),
    **dict(wife="wives", thief="thieves", scarf="scarves", potato="potatoes", tomato="tomatoes", hero="heroes"),
}
_LIKE_A_CONSONANT = ("uni", "use", "eu", "one")  # a university
_LIKE_A_VOWEL = ("hour", "honest")  # an honest man


def with_article(phrase: str) -> str:
    """a or an, by the sound the phrase begins with."""
    vowel = phrase[0] in "aeiou" and not phrase.startswith(_LIKE_A_CONSONANT)
    return ("an " if vowel or phrase.startswith(_LIKE_A_VOWEL) else "a ") + phrase


def possessive(name: str, plural: bool = False) -> str:
    return name + ("'" if plural and name.endswith("s") else "'s")


def english_plural(noun: str) -> str:
    for singular, plural in _PLURALS.items():
        if noun.endswith(singular):
            return noun.removesuffix(singular) + plural
    return _add_s(noun)


def _add_s(word: str) -> str:
    """The ending of a plural and of the third person."""
    if re.search("[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "z", "ch", "sh")) else "s")


def third_person(verb: str) -> str:
    irregular = {"have": "has", "go": "goes"}
    return irregular.get(verb) or _add_s(verb)


def past(verb: str) -> str:
    """Of a regular verb."""
    if re.search("[^aeiou]y$", verb):
        return verb[:-1] + "ied"
    return _double(verb) + ("d" if verb.endswith("e") else "ed")


def gerund(verb: str) -> str:
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    return re.sub("(?<![eo])e$", "", _double(verb)) + "ing"


def _double(word: str) -> str:
    """Doubles the last consonant after one stressed vowel: stop -> stopp-, big -> bigg-; British: travell-."""
    short = re.fullmatch("(?:for|be|trav)?[^aeiou]*(?<!q)[aeiou][^aeiouwxy]", word)
    return word + word[-1] if short else word


def english_comparison(adjective: str) -> tuple[str, str]:
    """Comparative and superlative: -er, -est on short words, more and most before long ones."""
    irregular = {"good": ("better", "best"), "bad": ("worse", "worst"), "narrow": ("narrower", "narrowest")}
    if adjective in irregular:
        return irregular[adjective]
    stem = adjective[:-1] if adjective.endswith("e") else _double(re.sub("y$", "i", adjective))
    if adjective.endswith("y") or len(re.findall("[aeiouy]+", adjective.removesuffix("e"))) == 1:
        return stem + "er", stem + "est"
    return f"more {adjective}", f"most {adjective}"
