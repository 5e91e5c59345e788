"""Clauses: a subject, a verb and its companions, laid out in English order and in each of the German orders.

A companion (`Part`) has a place in each language: Anna has given *the child* *a book* *in the garden*. German keeps
what is known to the left and what is new to the right, with the verb's other half at the very end: Anna hat *dem Kind*
*im Garten* *ein Buch* gegeben, weil Anna *dem Kind* *im Garten* *ein Buch* gegeben hat.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from mqa_jax.data.english_german import lexicon
from mqa_jax.data.english_german.inflection import ACC, DAT, NOM
from mqa_jax.data.english_german.phrases import NOTHING, Nominal, Phrase
from mqa_jax.data.english_german.words import Verb

# Places in the clause, in order. AFTER is for `to him` in `gives it to him` and `on` in `switches it on`.
NOT, MIDDLE, VERB, PARTICLE, INDIRECT, DIRECT, AFTER, COMPLEMENT, MANNER, PLACE, TIME = range(11)
# The German middle field, between the finite verb and the rest of the verb.
IT, HIM, WHEN, KNOWN_DATIVE, KNOWN_ACCUSATIVE, NEGATION, HOW, WHERE, NEW_DATIVE, NEW_ACCUSATIVE, RESULT = range(11)


class Part(NamedTuple):
    english: str
    german: str
    english_place: int
    german_place: int
    relative: str = ""  # a German relative clause, which goes to the end of the clause if the part is the last
    negative: bool = False  # kein: the German clause needs no nicht


def part(phrase: Phrase, english_place: int, german_place: int) -> Part:
    return Part(phrase.english, phrase.german, english_place, german_place)


def german_only(word: str, german_place: int) -> Part:
    return Part("", word, MIDDLE, german_place)


def object_part(verb: Verb, nominal: Nominal) -> Part:
    """The object of a verb, after the preposition if the verb has one."""
    english = f"{verb.preposition} {nominal.object}".lstrip()
    german = f"{verb.german_preposition} {nominal.german[verb.case]}".lstrip()
    if verb.german_preposition:
        return Part(english, german, COMPLEMENT, RESULT)
    if nominal.pronoun:
        german_place = IT if verb.case == ACC else HIM
    elif nominal.definite:
        german_place = KNOWN_ACCUSATIVE if verb.case == ACC else KNOWN_DATIVE
    else:
        german_place = NEW_ACCUSATIVE if verb.case == ACC else NEW_DATIVE
    return Part(english, german, DIRECT, german_place, negative=nominal.negative)


def particle(verb: Verb, after: bool = False) -> list[Part]:
    """The verb's own adverb: `switches on the lamp`, but after a pronoun `switches it on`."""
    return [Part(verb.particle, "", AFTER if after else PARTICLE, 0)] if verb.particle else []


# --- Verb groups -----------------------------------------------------------------------------------------------------

# Tenses beyond present, past, perfect, pluperfect and future, by name: the modal verbs.
MODALS = {
    "can": ("kann", "können"),
    "could": ("konnte", "konnten"),
    "must": ("muss", "müssen"),
    "may": ("darf", "dürfen"),
    "should": ("sollte", "sollten"),
    "wants to": ("will", "wollen"),
    "wanted to": ("wollte", "wollten"),
    "had to": ("musste", "mussten"),
}
# Modal in German, but in English a verb (base, third person, past) with an infinitive.
_QUASI_MODALS = {
    "wants to": ("want", "wants", ""),
    "wanted to": ("want", "wants", "wanted"),
    "had to": ("have", "has", "had"),
    "likes to": ("like", "likes", ""),  # gern
    "liked to": ("like", "likes", "liked"),
}


@cache
def english_verb(verb: Verb, tense: str, agreement: int, do: bool) -> tuple[str, str]:
    """Auxiliary and main verb; `do`: a question or a negation, which needs an auxiliary."""
    if tense == "perfect":
        return ("has" if agreement == 1 else "have"), verb.participle
    if tense == "pluperfect":
        return "had", verb.participle
    if tense in ("can", "could", "must", "may", "should", "future"):
        return ("will" if tense == "future" else tense), verb.base
    if tense in _QUASI_MODALS:
        base, third, past = _QUASI_MODALS[tense]
        rest = f" to {verb.base}"
    elif verb.base == "be":
        return (("was", "was", "were") if tense == "past" else ("am", "is", "are"))[agreement], ""
    else:
        base, third, past, rest = verb.base, verb.third, (verb.past if tense == "past" else ""), ""
    if do:
        return ("did" if past else "does" if agreement == 1 else "do"), base + rest
    return "", (past or (third if agreement == 1 else base)) + rest


@cache
def german_verb(verb: Verb, tense: str, agreement: int) -> tuple[str, str, str]:
    """Finite verb, what closes the clause, and the two together as they close a subordinate clause."""
    if tense in ("present", "likes to"):
        return verb.present[agreement], verb.prefix, verb.prefix + verb.present[agreement]
    if tense in ("past", "liked to"):
        return verb.preterite[agreement], verb.prefix, verb.prefix + verb.preterite[agreement]
    if tense in ("perfect", "pluperfect"):
        auxiliary = lexicon.HAVE if verb.auxiliary == "hat" else lexicon.BE
        finite = (auxiliary.present if tense == "perfect" else auxiliary.preterite)[agreement]
        closing = verb.german_participle
    else:
        finite = lexicon.BECOME.present[agreement] if tense == "future" else MODALS[tense][agreement == 2]
        closing = verb.infinitive
    return finite, closing, f"{closing} {finite}"


def zu_infinitive(verb: Verb) -> str:
    """zu kaufen, einzukaufen."""
    stem = verb.infinitive.removeprefix(verb.prefix)
    return f"{verb.prefix}zu{stem}" if verb.prefix else f"zu {stem}"


# --- Clauses ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Clause:
    subject: Nominal
    verb: Verb
    tense: str
    parts: list[Part] = field(default_factory=list)
    negated: bool = False
    participle: Phrase = NOTHING  # of the passive, whose verb is to be, werden
    object: Nominal | None = None  # which a pronoun may take up
    nominative: Nominal | None = None  # the German subject, where it is another: Anna likes the lamp

    def english(self, front: str = "", inverted: bool = False) -> str:
        """Subject first, after `front`; or the auxiliary first, as in questions."""
        auxiliary, main = english_verb(self.verb, self.tense, self.subject.agreement, inverted or self.negated)
        parts = [*self.parts, Part(f"{main} {self.participle.english}", "", VERB, 0)]
        if self.negated and auxiliary == "can":
            auxiliary = "cannot"
        elif self.negated:
            parts.append(Part("not", "", NOT, 0))
        head = [auxiliary, self.subject.english] if inverted else [self.subject.english, auxiliary]
        return " ".join([front, *head, *(each.english for each in sorted(parts, key=_english_place))])

    def german(self, front: str | None = None) -> str:
        """The main clause: the finite verb is second, after the subject or `front`; first if `front` is empty."""
        finite, closing, _ = self._german_verb()
        subject = self._german_subject()
        head = f"{subject} {finite}" if front is None else f"{front} {finite} {subject}"
        return f"{head} {self._middle(f'{self.participle.german} {closing}'.strip())}"

    def german_final(self, front: str = "") -> str:
        """The subordinate clause: the finite verb is last."""
        _, _, closing = self._german_verb()
        return f"{front} {self._german_subject()} {self._middle(f'{self.participle.german} {closing}'.strip())}"

    def infinitive(self, english_verb: str) -> Phrase:
        """The clause without subject: `to switch on the lamp`, die Lampe einzuschalten. `english_verb`: its form."""
        parts = [*self.parts, Part(english_verb, "", VERB, 0)]
        english = " ".join(each.english for each in sorted(parts, key=_english_place))
        return Phrase(english, self._middle(zu_infinitive(self.verb)))

    def _german_verb(self) -> tuple[str, str, str]:
        tense = "may" if self.tense == "must" and self.negated else self.tense  # must not: darf nicht
        return german_verb(self.verb, tense, (self.nominative or self.subject).agreement)

    def _german_subject(self) -> str:
        return f"{self.subject.german[DAT if self.nominative else NOM]} {self.subject.relative}"

    def _middle(self, closing: str) -> str:
        """The middle field and what closes the clause; a relative clause of the last part follows that."""
        parts = [each for each in self.parts if each.german]
        if self.negated and not any(each.negative for each in parts):
            parts.append(german_only("nicht", NEGATION))
        if not parts:
            return closing
        *others, last = sorted(parts, key=_german_place)
        return " ".join([*(f"{each.german} {each.relative}" for each in others), last.german, closing, last.relative])


def _english_place(each: Part) -> int:
    return each.english_place


def _german_place(each: Part) -> int:
    return each.german_place
