"""What can be said of whom: frames of a verb with companions that go with it and with its subject."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mqa_jax.data.english_german import adverbials, lexicon, phrases
from mqa_jax.data.english_german.clauses import (
    AFTER,
    COMPLEMENT,
    HIM,
    HOW,
    INDIRECT,
    IT,
    KNOWN_DATIVE,
    MANNER,
    NEW_DATIVE,
    PLACE,
    RESULT,
    WHERE,
    Part,
    german_only,
    object_part,
    part,
    particle,
)
from mqa_jax.data.english_german.inflection import DAT, NOM, english_number, german_number
from mqa_jax.data.english_german.phrases import Dice, Nominal, inflect, noun_phrase
from mqa_jax.data.english_german.words import Noun, Verb

CONCRETE = ("thing",) * 5 + ("device", "opening", "clothes", "food", "text", "text", "idea")
_OBJECTS = CONCRETE * 2 + ("person",) * 4 + ("animal", "animal", "drink", "room")


class Predicate(NamedTuple):
    verb: Verb
    parts: list[Part]  # that of the object, if there is one, comes first
    object: Nominal | None = None
    final: bool = False  # the English clause may end with the object, so that a relative clause can follow
    action: bool = False  # it can be done gladly, quickly, with someone, somewhere


Frame = Callable[[Dice, Nominal, bool], Predicate]  # of the subject, and whether it is negated

# --- People and things -----------------------------------------------------------------------------------------------


def any_noun(dice: Dice, kind: str) -> Noun:
    noun = dice.word(lexicon.NOUNS[kind])
    return phrases.compound(dice, noun) if kind in lexicon.COMPOUNDS and dice.chance(0.2) else noun


def simple_subject(dice: Dice) -> Nominal:
    """A person, in few words."""
    roll = dice.random()
    if roll < 0.3:
        return phrases.person_name(dice)
    if roll < 0.55:
        return phrases.PRONOUNS[dice.pick(("I", "we", "he", "she", "they"))]
    return noun_phrase(dice, any_noun(dice, "person"), plain=True)


def any_subject(dice: Dice) -> Nominal:
    roll = dice.random()
    if roll < 0.28:
        return simple_subject(dice)
    if roll < 0.34:
        return _pair(dice, "person")
    if roll < 0.37:
        return inflect(dice, any_noun(dice, "person"), False, phrases.NO)
    kind = "person" if roll < 0.8 else "animal" if roll < 0.9 else dice.pick(CONCRETE)
    return noun_phrase(dice, any_noun(dice, kind))


def _any_object(dice: Dice, kind: str, subject: Nominal, negated: bool) -> Nominal:
    roll = dice.random()
    if roll < 0.25 and kind == "person":
        return phrases.person_name(dice)
    if roll > 0.93 and not negated:
        return _pair(dice, kind)
    return noun_phrase(dice, any_noun(dice, kind), subject, negated)


def _pair(dice: Dice, kind: str) -> Nominal:
    """Anna and the old teacher; both a lamp and three chairs."""
    first, second = (
        phrases.person_name(dice)
        if kind == "person" and dice.chance(0.5)
        else noun_phrase(dice, any_noun(dice, kind), plain=True)
        for _ in "12"
    )
    if dice.chance(0.4) and not first.english.startswith("both"):
        return phrases.join(first, second, "both {} and {}", "sowohl {} als auch {}")
    return phrases.join(first, second, "{} and {}", "{} und {}")


def known(dice: Dice, kind: str) -> Nominal:
    """A definite noun phrase in the singular."""
    return inflect(dice, any_noun(dice, kind), False, dice.pick(phrases.KNOWN))


def pick_verb(dice: Dice, verbs: Sequence[Verb], subject: Nominal) -> Verb:
    """Not one whose past looks like its present: `they put`."""
    verb = dice.word(verbs)
    while verb.past == verb.base and dice.tense == "past" and subject.agreement != 1:
        verb = dice.word(verbs)
    return verb


def reflexive(verb: Verb, subject: Nominal) -> list[Part]:
    return [german_only(phrases.reflexive(subject), IT)] if verb.reflexive else []


def location(dice: Dice) -> Part:
    return part(adverbials.location(dice), PLACE, WHERE)


# --- Verbs with objects ----------------------------------------------------------------------------------------------


def _transitive(dice: Dice, subject: Nominal, negated: bool) -> Predicate:
    kind = dice.pick(_OBJECTS)
    verb = pick_verb(dice, lexicon.VERBS[kind], subject)
    object = _any_object(dice, kind, subject, negated)
    return Predicate(verb, [object_part(verb, object), *particle(verb)], object, True, True)


def taking_up(object: Nominal) -> Frame:
    """What can be said with this pronoun as the object."""

    def frame(dice: Dice, subject: Nominal, negated: bool) -> Predicate:
        helping = object.kind == "person" and dice.chance(0.25)
        verb = pick_verb(dice, lexicon.HELPING if helping else lexicon.VERBS[object.kind], subject)
        return Predicate(verb, [object_part(verb, object), *particle(verb, after=True)], object, action=True)

    return frame


def _helping(dice: Dice, subject: Nominal, negated: bool) -> Predicate:
    verb = pick_verb(dice, lexicon.HELPING, subject)
    object = _any_object(dice, "person", subject, negated)
    return Predicate(verb, [object_part(verb, object)], object, True)


def _hunting(dice: Dice, subject: Nominal, negated: bool) -> Predicate:
    verb = pick_verb(dice, lexicon.HUNTING, subject)
    object = _any_object(dice, dice.pick(("animal", "animal", "person")), subject, negated)
    return Predicate(verb, [object_part(verb, object)], object, True)


def _waiting(dice: Dice, subject: Nominal, negated: bool) -> Predicate:
    verb = pick_verb(dice, lexicon.WAITING, subject)
    kind = dice.pick((*CONCRETE, "person", "person", "person", "event", "event", "animal"))
    object = known(dice, kind) if negated else noun_phrase(dice, any_noun(dice, kind), subject)
    return Predicate(verb, [object_part(verb, object)], object, True, not verb.reflexive)


def _giving(dice: Dice, subject: Nominal, negated: bool) -> Predicate:
    """gives the child a book, gives a book to the child; explains it to the child."""
    telling = dice.chance(0.25)
    verb = pick_verb(dice, lexicon.TELLING if telling else lexicon.GIVING, subject)
    thing = noun_phrase(dice, any_noun(dice, dice.pick(("text", "idea") if telling else CONCRETE)), subject, negated)
    recipient, german_place = _recipient(dice, subject, negated)
    to = telling or dice.chance(0.3)
    english = f"to {recipient.object}" if to else recipient.object
    indirect = Part(english, recipient.german[DAT], AFTER if to else INDIRECT, german_place)
    return Predicate(verb, [object_part(verb, thing), *particle(verb), indirect], thing, not to)


def _recipient(dice: Dice, subject: Nominal, negated: bool) -> tuple[Nominal, int]:
    """Someone, and the place in the German clause."""
    roll = dice.random()
    if roll < 0.25:
        pronouns = [phrases.PRONOUNS[name] for name in ("I", "we", "he", "she", "they")]
        return dice.pick([each for each in pronouns if each.agreement != subject.agreement]), HIM
    if roll < 0.5:
        return phrases.person_name(dice), KNOWN_DATIVE
    if negated:
        return known(dice, "person"), KNOWN_DATIVE
    nominal = noun_phrase(dice, any_noun(dice, "person"), subject, plain=True)
    return nominal, KNOWN_DATIVE if nominal.definite else NEW_DATIVE


def _putting(dice: Dice, subject: Nominal, negated: bool) -> Predicate:
    verb = pick_verb(dice, lexicon.PUTTING, subject)
    thing = noun_phrase(dice, any_noun(dice, dice.pick(CONCRETE[:-1])), subject, negated, plain=True)
    return Predicate(verb, [object_part(verb, thing), part(adverbials.into(dice), COMPLEMENT, RESULT)], thing)


def _belonging(dice: Dice, subject: Nominal, negated: bool) -> Predicate:
    owner = phrases.person_name(dice) if dice.chance(0.4) else known(dice, "person")
    return Predicate(lexicon.BELONG, [object_part(lexicon.BELONG, owner)], final=True, object=owner)


# --- Verbs without objects -------------------------------------------------------------------------------------------


def _acting(dice: Dice, subject: Nominal, negated: bool) -> Predicate:
    verb = pick_verb(dice, lexicon.ACTING, subject)
    return Predicate(verb, [location(dice), *particle(verb)], action=True)


def _staying(dice: Dice, subject: Nominal, negated: bool) -> Predicate:
    return Predicate(pick_verb(dice, lexicon.STAYING, subject), [location(dice)])


def _lying(dice: Dice, subject: Nominal, negated: bool) -> Predicate:
    return Predicate(pick_verb(dice, lexicon.LYING, subject), [location(dice)])


def _travelling(dice: Dice, subject: Nominal, negated: bool) -> Predicate:
    verb = pick_verb(dice, lexicon.TRAVELLING, subject)
    parts = [part(adverbials.direction(dice), COMPLEMENT, RESULT)]
    if verb.base in ("come", "return", "travel") and dice.chance(0.5):
        parts.append(Part(*dice.word(lexicon.MEANS), MANNER, HOW))
    return Predicate(verb, parts)


def _moving(dice: Dice, subject: Nominal, negated: bool) -> Predicate:
    return Predicate(pick_verb(dice, lexicon.MOVING, subject), [part(adverbials.direction(dice), COMPLEMENT, RESULT)])


def being(dice: Dice, subject: Nominal, negated: bool) -> Predicate:
    """is very old, has become older than the table, looks tired, is a good teacher."""
    if subject.kind == "person" and subject.gender in "mf" and subject.agreement == 1 and dice.chance(0.2):
        return _profession(dice, subject, negated)
    verb = dice.pick((lexicon.BE,) * 6 + (lexicon.LOOK, lexicon.BECOME, lexicon.REMAIN))
    adjective = dice.word(lexicon.ADJECTIVES[subject.kind])
    roll = dice.random()
    if len(adjective.stems) == 1:
        english, german = adjective.english[0], adjective.german
    elif roll < 0.2:
        than = known(dice, subject.kind)
        english, german = f"{adjective.english[1]} than {than.object}", f"{adjective.stems[1]} als {than.german[NOM]}"
    elif roll < 0.4:
        than = known(dice, subject.kind)
        english, german = f"as {adjective.english[0]} as {than.object}", f"so {adjective.german} wie {than.german[NOM]}"
    else:
        very, sehr = dice.pick((("", ""), ("", ""), ("very ", "sehr "), ("too ", "zu ")))
        english, german = very + adjective.english[0], sehr + adjective.german
    return Predicate(verb, [Part(english, german, COMPLEMENT, RESULT)])


def _profession(dice: Dice, subject: Nominal, negated: bool) -> Predicate:
    noun = any_noun(dice, "person")
    while noun.gender != subject.gender:
        noun = any_noun(dice, "person")
    nominal = inflect(dice, noun, False, phrases.NOT_A if negated else phrases.A)
    verb = dice.pick((lexicon.BE, lexicon.BE, lexicon.BECOME, lexicon.REMAIN))
    return Predicate(verb, [Part(nominal.object, nominal.german[NOM], COMPLEMENT, RESULT, negative=negated)])


def _measure(dice: Dice, subject: Nominal, negated: bool) -> Predicate:
    """costs forty euros, is forty years old."""
    if dice.tense not in ("present", "past"):
        return being(dice, subject, negated)
    count = 2 + int(dice.pick((20, 98)) * dice.random())
    english, german = english_number(count), german_number(count)
    if subject.kind in ("person", "animal"):
        return Predicate(lexicon.BE, [Part(f"{english} years old", f"{german} Jahre alt", COMPLEMENT, RESULT)])
    return Predicate(lexicon.COST, [Part(f"{english} euros", f"{german} Euro", COMPLEMENT, RESULT)])


_THING: list[Frame] = [being] * 4 + [_lying] * 3 + [_measure, _belonging, _belonging]
# By the kind of the subject; every other kind can only be something.
FRAMES: dict[str, list[Frame]] = {
    "person": [_transitive] * 16 + [_helping] * 4 + [_giving] * 8 + [_waiting] * 5 + [_putting] * 4 + [_acting] * 6
    + [_travelling] * 6 + [being] * 4 + [_measure],
    "animal": [_hunting] * 4 + [_staying] * 3 + [_moving] * 3 + [being] * 2,
    **dict.fromkeys(("thing", "device", "clothes", "food", "text"), _THING),
}  # fmt: skip
# What one can try, plan, forget or come to do.
ACTIONS: list[Frame] = [_transitive] * 8 + [_helping] * 2 + [_giving] * 4 + [_putting] * 2 + [_acting, _travelling]
