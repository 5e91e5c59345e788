"""Places, directions, times and other adverbials of the generated language pair."""

from mqa_jax.data.english_german import lexicon
from mqa_jax.data.english_german.inflection import (
    ACC,
    DAT,
    GEN,
    english_number,
    english_ordinal,
    german_number,
    german_ordinal,
)
from mqa_jax.data.english_german.phrases import KNOWN, THE, Dice, Nominal, Phrase, inflect

# The preposition that goes with a place; auf and an are on and at.
PREPOSITIONS = {"room": ("in", "in"), "surface": ("on", "auf"), "site": ("at", "an")}
_PLACES = ("room", "room", "room", "surface", "site")
_BESIDE = (("behind", "hinter"), ("next to", "neben"), ("in front of", "vor"), ("under", "unter"))
_CONTRACTED = {
    "an das": "ans",
    "an dem": "am",
    "in das": "ins",
    "in dem": "im",
    "von dem": "vom",
    "zu dem": "zum",
    "zu der": "zur",
}


def governed(english: str, german: str, case: int, nominal: Nominal) -> Phrase:
    """A preposition and what it governs: in dem Garten becomes im Garten."""
    phrase = f"{german} {nominal.german[case]}"
    for full, contracted in _CONTRACTED.items():
        if phrase.startswith(full + " "):
            phrase = contracted + phrase[len(full) :]
    return Phrase(f"{english} {nominal.object}", phrase)


def place(dice: Dice) -> tuple[str, Nominal]:
    """A place and its kind."""
    kind, plural = dice.pick(_PLACES), dice.chance(0.08)
    determiner = THE if plural or dice.chance(0.5) else dice.pick(KNOWN)
    return kind, inflect(dice, dice.word(lexicon.NOUNS[kind]), plural, determiner)


def location(dice: Dice) -> Phrase:
    """Where something is: in the old garden, im alten Garten."""
    roll = dice.random()
    if roll < 0.12:
        town = town_name(dice)
        return Phrase(f"in {town}", f"in {town}")
    if roll < 0.3:
        english, german = dice.pick(_BESIDE)
        return governed(english, german, DAT, _landmark(dice))
    if roll < 0.36:
        near = _landmark(dice)
        return Phrase(f"near {near.object}", f"in der Nähe {near.german[GEN]}")
    kind, nominal = place(dice)
    return governed(*PREPOSITIONS[kind], DAT, nominal)


def _landmark(dice: Dice) -> Nominal:
    return inflect(dice, dice.word(lexicon.NOUNS["landmark"]), False, THE)


def direction(dice: Dice) -> Phrase:
    """Where someone goes or comes from. In English only the preposition tells in den Garten from im Garten."""
    roll = dice.random()
    if roll < 0.12:
        town = town_name(dice)
        return Phrase(f"to {town}", f"nach {town}")
    if roll < 0.2:
        return governed("to", "zu", DAT, inflect(dice, dice.word(lexicon.NOUNS["person"]), False, dice.pick(KNOWN)))
    if roll < 0.5:
        return into(dice)
    kind, nominal = place(dice)
    if roll < 0.75:
        return governed("to", "zu", DAT, nominal)
    return governed("from", "aus" if kind == "room" else "von", DAT, nominal)


def into(dice: Dice) -> Phrase:
    """in den Garten, auf den Tisch."""
    kind, nominal = place(dice)
    while kind == "site":
        kind, nominal = place(dice)
    return governed(*{"room": ("into", "in"), "surface": ("onto", "auf")}[kind], ACC, nominal)


def town_name(dice: Dice) -> str:
    return dice.pick(lexicon.TOWNS[0]) + dice.pick(lexicon.TOWNS[1])


# --- Times -----------------------------------------------------------------------------------------------------------


def time(dice: Dice, tense: str) -> Phrase:
    """A time that goes with a tense: present, past, perfect or future."""
    roll = dice.random()
    if roll < 0.5 or tense == "perfect":
        return Phrase(*dice.word(lexicon.TIMES[tense]))
    if roll < 0.6:
        return _event(dice)
    if roll < 0.68:
        return _clock(dice)
    if tense == "present":
        english, german = dice.pick(lexicon.WEEKDAYS)
        return Phrase(f"every {english}", f"jeden {german}")
    if roll < 0.76:
        english, german = dice.pick(lexicon.WEEKDAYS)
        return Phrase(f"on {english}", f"am {german}")
    if roll < 0.86:
        return _date(dice)
    count, (english, german) = 2 + int(dice.random() * 29), dice.word(lexicon.SPANS)
    if tense == "past":
        return Phrase(f"{english_number(count)} {english} ago", f"vor {german_number(count)} {_dative(german)}")
    return Phrase(f"in {english_number(count)} {english}", f"in {german_number(count)} {_dative(german)}")


def _dative(plural: str) -> str:
    return plural if plural.endswith("n") else plural + "n"


def _clock(dice: Dice) -> Phrase:
    """Half past three is on the way to four: um halb vier."""
    hour, roll = 1 + int(dice.random() * 12), dice.random()
    following = hour % 12 + 1
    names = ["", "ein", *(german_number(n) for n in range(2, 13))]
    one_is_eins = [*names[:1], "eins", *names[2:]]
    if roll < 0.4:
        return Phrase(f"at {english_number(hour)} o'clock", f"um {names[hour]} Uhr")
    if roll < 0.7:
        return Phrase(f"at half past {english_number(hour)}", f"um halb {one_is_eins[following]}")
    english, german = dice.pick((("a quarter", "Viertel"), ("ten", "zehn"), ("twenty", "zwanzig"), ("five", "fünf")))
    after = dice.chance(0.5)
    return Phrase(
        f"at {english} {'past' if after else 'to'} {english_number(hour)}",
        f"um {german} {'nach' if after else 'vor'} {one_is_eins[hour]}",
    )


def _date(dice: Dice) -> Phrase:
    day, (english, german) = 1 + int(dice.random() * 28), dice.pick(lexicon.MONTHS)
    return Phrase(f"on the {english_ordinal(day)} of {english}", f"am {german_ordinal(day)}en {german}")


def _event(dice: Dice) -> Phrase:
    """during the long war, während des langen Krieges."""
    event = inflect(dice, dice.word(lexicon.NOUNS["event"]), False, THE)
    english, german, case = dice.pick(
        (("during", "während", GEN), ("because of", "wegen", GEN), ("despite", "trotz", GEN),
         ("before", "vor", DAT), ("after", "nach", DAT))
    )  # fmt: skip
    return governed(english, german, case, event)
