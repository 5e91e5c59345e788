"""Makes clauses of subjects and predicates: with adverbials, relative clauses, in the passive, or with a gap."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from mqa_jax.data.english_german import adverbials, lexicon, phrases, predicates
from mqa_jax.data.english_german.clauses import (
    COMPLEMENT,
    DIRECT,
    HOW,
    KNOWN_ACCUSATIVE,
    MANNER,
    MIDDLE,
    NEGATION,
    NEW_ACCUSATIVE,
    TIME,
    WHEN,
    WHERE,
    Clause,
    Part,
    german_only,
    object_part,
    part,
    particle,
)
from mqa_jax.data.english_german.inflection import ACC, DAT, GEN, NOM, RELATIVE, STRONG, fixed
from mqa_jax.data.english_german.phrases import NOTHING, Determiner, Dice, Nominal, Phrase, inflect, noun_phrase
from mqa_jax.data.english_german.predicates import CONCRETE, Frame, any_noun, location, simple_subject
from mqa_jax.data.english_german.words import Verb

# Which times and adverbs go with a tense; pluperfect takes none.
_TIMES = {
    "present": ("present", "likes to"),
    "past": ("past", "liked to", "could", "wanted to", "had to"),
    "perfect": ("perfect",),
    "future": ("future", "can", "must", "may", "should", "wants to"),
}
_TIMES_OF = {tense: times for times, tenses in _TIMES.items() for tense in tenses}
PAST = (*_TIMES["past"], "pluperfect")
_ONLY_PEOPLE = {"wants to": "present", "wanted to": "past", "may": "can"}  # and what others do instead


def clause(
    dice: Dice,
    tense: str,
    subject: Nominal | None = None,
    object: Nominal | None = None,
    plain: bool = False,
    frames: Sequence[Frame] = (),
) -> Clause:
    """A clause in this tense.

    Args:
      subject: who it is about; None for anyone.
      object: a pronoun for its object; None for any object or none.
      plain: no negation, times, manners and so on.
      frames: what may be said of the subject, if not anything.
    """
    dice.tense = tense
    if object:
        frames = [predicates.taking_up(object)]
    elif not frames:
        roll = dice.random()
        if roll < 0.04 and not subject and tense in ("present", "past", "future"):
            return _existence(dice)
        if roll < 0.1 and not subject:
            subject = noun_phrase(dice, any_noun(dice, dice.pick(CONCRETE)))
        if roll < 0.4 and subject and subject.kind in CONCRETE:
            return _passive(dice, with_relative_clause(dice, subject), plain)
        if roll > 0.96 and tense in ("present", "past") and (not subject or subject.kind == "person"):
            return _liking(dice, subject or simple_subject(dice), plain)
    subject = with_relative_clause(dice, subject or predicates.any_subject(dice))
    dice.tense = _possible(dice.tense, subject)
    negated = not plain and subject.specific and dice.chance(0.13)
    predicate = dice.pick(frames or predicates.FRAMES.get(subject.kind, [predicates.being]))(dice, subject, negated)
    parts = predicate.parts + predicates.reflexive(predicate.verb, subject)
    if predicate.object and predicate.final:
        relative = _relative_clause(dice, predicate.object)
        parts[0] = parts[0]._replace(english=parts[0].english + relative.english, relative=relative.german)
    tense = dice.tense
    if predicate.action and not negated and tense in ("present", "past") and dice.chance(0.07):
        tense = "likes to" if tense == "present" else "liked to"
        parts.append(german_only("gern", NEGATION))
    elif not plain:
        parts += _adverbials(dice, predicate.action, negated, parts)
    return Clause(subject, predicate.verb, tense, parts, negated, object=predicate.object)


def _possible(tense: str, subject: Nominal) -> str:
    return tense if subject.kind == "person" else _ONLY_PEOPLE.get(tense, tense)


def _adverbials(dice: Dice, action: bool, negated: bool, parts: list[Part]) -> list[Part]:
    """Manner, company, place and time of a clause with these parts; none after a relative clause."""
    if any(each.relative for each in parts):
        return []
    found = []
    if action and not negated:
        roll = dice.random()
        if roll < 0.1:
            found.append(Part(*dice.word(lexicon.MANNERS), MANNER, HOW))
        elif roll < 0.18:
            found.append(part(adverbials.governed("with", "mit", DAT, simple_subject(dice)), MANNER, HOW))
        elif roll < 0.32 and not any(each.german_place == WHERE for each in parts):
            found.append(location(dice))
    roll = dice.random()
    if roll < 0.4 and dice.tense in _TIMES_OF:
        found.append(part(adverbials.time(dice, _TIMES_OF[dice.tense]), TIME, WHEN))
    elif roll > 0.8 and not negated and dice.tense in lexicon.OFTEN:
        table, german_place = dice.pick(((lexicon.OFTEN, NEGATION), (lexicon.PROBABLY, WHEN)))
        found.append(Part(*dice.pick(table[dice.tense]), MIDDLE, german_place))
    return found


# --- Other kinds of clause -------------------------------------------------------------------------------------------


def _passive(dice: Dice, subject: Nominal, plain: bool) -> Clause:
    """has been switched on by Anna, ist von Anna eingeschaltet worden."""
    dice.tense = _possible(dice.tense, subject)
    verb = dice.word(lexicon.VERBS[subject.kind])
    english = " ".join(filter(None, (verb.participle, verb.particle, verb.preposition)))
    parts = []
    if dice.chance(0.55):
        agent = (
            phrases.person_name(dice) if dice.chance(0.3) else noun_phrase(dice, any_noun(dice, "person"), plain=True)
        )
        parts.append(part(adverbials.governed("by", "von", DAT, agent), COMPLEMENT, HOW))
    if not plain:
        parts += _adverbials(dice, False, False, parts)
    return Clause(subject, lexicon.BE_DONE, dice.tense, parts, participle=Phrase(english, verb.german_participle))


def _existence(dice: Dice) -> Clause:
    """there are three chairs in the kitchen, es gibt in der Küche drei Stühle."""
    plural = dice.chance(0.5)
    determiner = phrases.counted(dice) if plural and dice.chance(0.4) else dice.pick(phrases.THERE_IS[plural])
    nominal = inflect(dice, any_noun(dice, dice.pick(("thing", "animal", "person", "device"))), plural, determiner)
    there = replace(nominal, english="there", german=("es",) * 4, open=False)
    parts = [Part(nominal.english, nominal.german[ACC], DIRECT, NEW_ACCUSATIVE), location(dice)]
    return Clause(there, lexicon.EXIST, dice.tense, parts, nominative=phrases.IT)


def _liking(dice: Dice, subject: Nominal, plain: bool) -> Clause:
    """the old teacher likes the red lamps, dem alten Lehrer gefallen die roten Lampen."""
    noun, plural = any_noun(dice, dice.pick((*CONCRETE, "room"))), dice.chance(0.3)
    liked = inflect(dice, noun, plural, phrases.THE if plural else dice.pick(phrases.KNOWN))
    negated = not plain and subject.specific and dice.chance(0.2)
    parts = [Part(liked.object, liked.german[NOM], DIRECT, KNOWN_ACCUSATIVE)]
    return Clause(subject, lexicon.LIKE, dice.tense, parts, negated, object=liked, nominative=liked)


# --- Clauses with a gap ----------------------------------------------------------------------------------------------


class Gap(NamedTuple):
    """A clause without its object, and what governs the object in both languages."""

    preposition: str
    german_preposition: str
    case: int
    clause: Clause

    def fill(self, nominal: Nominal) -> Phrase:
        """The missing object, as it stands before the clause."""
        return Phrase(
            f"{self.preposition} {nominal.object}".lstrip(),
            f"{self.german_preposition} {nominal.german[self.case]}".lstrip(),
        )


def gap(dice: Dice, kind: str, subject: Nominal | None = None, plain: bool = False) -> Gap:
    """A clause in `dice.tense` that lacks an object of this kind; `plain` as for `clause`."""
    subject = subject or simple_subject(dice)
    roll = dice.random()
    if kind in adverbials.PREPOSITIONS and (roll < 0.6 or kind not in lexicon.VERBS):
        return Gap(*adverbials.PREPOSITIONS[kind], DAT, _gapped(dice, subject, lexicon.ACTING, plain))
    if kind != "person":
        made = _gapped(dice, subject, lexicon.WAITING if roll < 0.15 else lexicon.VERBS[kind], plain)
    elif roll < 0.1:
        return Gap("with", "mit", DAT, _gapped(dice, subject, lexicon.TOGETHER, plain))
    elif roll < 0.2:
        made = _gapped(dice, subject, lexicon.GIVING, plain)
        thing = noun_phrase(dice, any_noun(dice, dice.pick(CONCRETE)), subject, made.negated, plain=True)
        made.parts.append(object_part(made.verb, thing))
        return Gap("to", "", DAT, made)
    else:
        verbs = lexicon.HELPING if roll < 0.4 else lexicon.WAITING if roll < 0.55 else lexicon.VERBS[kind]
        made = _gapped(dice, subject, verbs, plain)
    return Gap(made.verb.preposition, made.verb.german_preposition, made.verb.case, made)


def _gapped(dice: Dice, subject: Nominal, verbs: Sequence[Verb], plain: bool) -> Clause:
    verb = predicates.pick_verb(dice, verbs, subject)
    parts = predicates.reflexive(verb, subject) + particle(verb)
    if plain:
        return Clause(subject, verb, dice.tense, parts)
    negated = subject.specific and dice.chance(0.08)
    return Clause(subject, verb, dice.tense, parts + _adverbials(dice, False, negated, parts), negated)


# --- Relative clauses ------------------------------------------------------------------------------------------------


def with_relative_clause(dice: Dice, nominal: Nominal) -> Nominal:
    """The noun phrase, perhaps with a relative clause."""
    relative = _relative_clause(dice, nominal)
    return replace(nominal, english=nominal.english + relative.english, relative=relative.german, open=False)


def _relative_clause(dice: Dice, head: Nominal) -> Phrase:
    """` whom Anna has seen`, `, den Anna gesehen hat,`; often nothing."""
    if not (head.open and dice.relatives and dice.chance(0.3)):
        return NOTHING
    allowed, tense = dice.relatives - 1, dice.tense
    dice.relatives = 0  # none inside
    dice.tense = dice.pick(
        ("past", "past", "pluperfect") if tense in PAST else ("present", "perfect", "perfect", "past")
    )
    roll = dice.random()
    if roll < 0.42:
        made = clause(dice, dice.tense, _relative_pronoun(head))
        english, german = made.english(), made.german_final()
    elif roll < 0.56 and head.kind == "person":
        english, german = _whose(dice, head)
    else:
        english, german = _gap_clause(dice, head.kind, _relative_pronoun(head))
    dice.relatives, dice.tense = allowed, tense
    return Phrase(f" {english}", f", {german},")


def _relative_pronoun(head: Nominal) -> Nominal:
    subject, object = ("who", "whom") if head.kind == "person" else ("which", "which")
    return Nominal(subject, object, RELATIVE[head.gender], head.gender, head.kind, head.agreement)


def _whose(dice: Dice, head: Nominal) -> Phrase:
    """whose old dog sleeps, dessen alter Hund schläft; whose lamp Anna has bought, deren Lampe Anna gekauft hat."""
    determiner = Determiner("whose", fixed(RELATIVE[head.gender][GEN]), STRONG, open=False)
    kind = dice.pick(("person", "animal", "thing", "text"))
    nominal = inflect(dice, any_noun(dice, kind), dice.chance(0.2), determiner)
    if dice.chance(0.5):
        return _gap_clause(dice, kind, nominal)
    made = clause(dice, dice.tense, nominal)
    return Phrase(made.english(), made.german_final())


def _gap_clause(dice: Dice, kind: str, nominal: Nominal) -> Phrase:
    made = gap(dice, kind)
    front = made.fill(nominal)
    return Phrase(made.clause.english(front.english), made.clause.german_final(front.german))
