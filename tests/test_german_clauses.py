"""Clauses of the generated pair: where German puts its verbs, objects and adverbs, written by hand as the measure."""

import pytest
from german import ANNA, IN_THE_GARDEN, MAN, YESTERDAY, noun_phrase, orders, pronoun, verb_of

from mqa_jax.data.english_german import lexicon
from mqa_jax.data.english_german.clauses import (
    AFTER,
    COMPLEMENT,
    DIRECT,
    HIM,
    INDIRECT,
    IT,
    KNOWN_ACCUSATIVE,
    KNOWN_DATIVE,
    MIDDLE,
    NEGATION,
    RESULT,
    WHERE,
    Clause,
    Part,
    german_only,
    object_part,
    particle,
)
from mqa_jax.data.english_german.composition import Gap
from mqa_jax.data.english_german.inflection import DAT, NOM, RELATIVE
from mqa_jax.data.english_german.phrases import PRONOUNS, Nominal, Phrase


def test_perfect_brackets_the_clause():
    give = lexicon.GIVING[0]
    child = Part("the child", noun_phrase("the child").german[DAT], INDIRECT, KNOWN_DATIVE)
    parts = [object_part(give, noun_phrase("a book")), child, YESTERDAY]
    assert orders(Clause(ANNA, give, "pluperfect", parts)) == [
        "Anna had given the child a book yesterday",
        "Anna hatte gestern dem Kind ein Buch gegeben",
        "hatte Anna gestern dem Kind ein Buch gegeben",
        "weil Anna gestern dem Kind ein Buch gegeben hatte",
    ]


def test_separable_verb():
    switch = verb_of("einschalten")
    known = Clause(MAN, switch, "present", [object_part(switch, noun_phrase("the lamp")), *particle(switch)])
    assert orders(known) == [
        "the old man switches on the lamp",
        "der alte Mann schaltet die Lampe ein",
        "schaltet der alte Mann die Lampe ein",
        "weil der alte Mann die Lampe einschaltet",
    ]
    taken_up = Clause(MAN, switch, "future", [object_part(switch, pronoun("the lamp")), *particle(switch, after=True)])
    assert orders(taken_up)[0] == "the old man will switch it on"
    assert orders(taken_up)[3] == "weil der alte Mann sie einschalten wird"
    assert [" ".join(each.split()) for each in known.infinitive("to switch")] == [
        "to switch on the lamp",
        "die Lampe einzuschalten",
    ]


def test_verb_second_after_an_adverbial():
    work = verb_of("arbeiten")
    made = Clause(MAN, work, "past", [IN_THE_GARDEN])
    assert orders(made, Phrase("yesterday", "gestern"))[:2] == [
        "yesterday the old man worked in the garden",
        "gestern arbeitete der alte Mann im Garten",
    ]


def test_pronouns_precede_nouns_and_it_precedes_him():
    give = lexicon.GIVING[0]
    him = Part("to him", PRONOUNS["he"].german[DAT], AFTER, HIM)
    made = Clause(ANNA, give, "past", [object_part(give, pronoun("the key")), him, YESTERDAY])
    assert orders(made)[:2] == ["Anna gave it to him yesterday", "Anna gab ihn ihm gestern"]


def test_negation():
    sell = verb_of("verkaufen")
    known = Clause(MAN, sell, "perfect", [object_part(sell, noun_phrase("the lamp")), IN_THE_GARDEN], negated=True)
    assert orders(known)[:2] == [
        "the old man has not sold the lamp in the garden",
        "der alte Mann hat die Lampe nicht im Garten verkauft",
    ]
    new = Clause(MAN, sell, "present", [object_part(sell, noun_phrase("any lamps"))], negated=True)
    assert orders(new)[:2] == ["the old man does not sell any lamps", "der alte Mann verkauft keine Lampen"]
    for tense, english, german in (
        ("must", "must not", "darf"),
        ("can", "cannot", "kann"),
        ("had to", "did not have to", "musste"),
    ):
        forbidden = Clause(MAN, sell, tense, [object_part(sell, noun_phrase("the lamp"))], negated=True)
        assert orders(forbidden)[:2] == [
            f"the old man {english} sell the lamp",
            f"der alte Mann {german} die Lampe nicht verkaufen",
        ]


def test_reflexive_verb_with_a_preposition():
    remember = verb_of("erinnern")
    parts = [object_part(remember, noun_phrase("the wedding")), german_only("sich", IT)]
    assert orders(Clause(MAN, remember, "can", parts)) == [
        "the old man can remember the wedding",
        "der alte Mann kann sich an die Hochzeit erinnern",
        "kann der alte Mann sich an die Hochzeit erinnern",
        "weil der alte Mann sich an die Hochzeit erinnern kann",
    ]


def test_passive():
    repaired = Phrase("repaired", "repariert")
    by = Part("by Anna", "von Anna", COMPLEMENT, WHERE)
    lamp = noun_phrase("the lamp")
    assert orders(Clause(lamp, lexicon.BE_DONE, "perfect", [by], participle=repaired)) == [
        "the lamp has been repaired by Anna",
        "die Lampe ist von Anna repariert worden",
        "ist die Lampe von Anna repariert worden",
        "weil die Lampe von Anna repariert worden ist",
    ]
    assert orders(Clause(lamp, lexicon.BE_DONE, "must", participle=repaired))[1] == "die Lampe muss repariert werden"
    assert orders(Clause(lamp, lexicon.BE_DONE, "past", participle=repaired))[3] == "weil die Lampe repariert wurde"


def test_liking_swaps_subject_and_object():
    lamps = noun_phrase("the red lamps")
    parts = [Part(lamps.object, lamps.german[NOM], DIRECT, KNOWN_ACCUSATIVE)]
    assert orders(Clause(MAN, lexicon.LIKE, "past", parts, negated=True, nominative=lamps)) == [
        "the old man did not like the red lamps",
        "dem alten Mann gefielen die roten Lampen nicht",
        "gefielen dem alten Mann die roten Lampen nicht",
        "weil dem alten Mann die roten Lampen nicht gefielen",
    ]


def test_gladly():
    read = verb_of("lesen")
    made = Clause(MAN, read, "likes to", [object_part(read, noun_phrase("old books")), german_only("gern", NEGATION)])
    assert orders(made)[:2] == ["the old man likes to read old books", "der alte Mann liest gern alte Bücher"]


def test_adverbs_between_the_verbs():
    sell = verb_of("verkaufen")
    already = Part("already", "schon", MIDDLE, NEGATION)
    made = Clause(MAN, sell, "perfect", [object_part(sell, noun_phrase("the lamp")), already])
    assert orders(made)[:2] == ["the old man has already sold the lamp", "der alte Mann hat die Lampe schon verkauft"]
    tired = Clause(
        MAN, lexicon.BE, "past", [Part("tired", "müde", COMPLEMENT, RESULT), Part("often", "oft", MIDDLE, NEGATION)]
    )
    assert orders(tired)[:2] == ["the old man was often tired", "der alte Mann war oft müde"]


def test_relative_clause_of_the_last_part_follows_the_verb():
    sell = verb_of("verkaufen")
    lamp = object_part(sell, noun_phrase("the lamp"))._replace(relative=", die er fand,")
    assert orders(Clause(MAN, sell, "perfect", [lamp]))[1] == "der alte Mann hat die Lampe verkauft , die er fand,"
    assert orders(Clause(MAN, sell, "perfect", [lamp, IN_THE_GARDEN]))[3] == (
        "weil der alte Mann die Lampe , die er fand, im Garten verkauft hat"
    )


@pytest.mark.parametrize(
    ("head", "english", "german"),
    [
        ("the man", "for whom Anna waits", "auf den Anna wartet"),
        ("the woman", "for whom Anna waits", "auf die Anna wartet"),
        ("the book", "for which Anna waits", "auf das Anna wartet"),
        ("the keys", "for which Anna waits", "auf die Anna wartet"),
    ],
)
def test_relative_pronoun(head, english, german):
    wait = next(each for each in lexicon.WAITING if each.base == "wait")
    made = noun_phrase(head)
    pronoun = Nominal("", "whom" if made.kind == "person" else "which", RELATIVE[made.gender], made.gender, made.kind)
    gap = Gap(wait.preposition, wait.german_preposition, wait.case, Clause(ANNA, wait, "present"))
    front = gap.fill(pronoun)
    assert " ".join(gap.clause.english(front.english).split()) == english
    assert " ".join(gap.clause.german_final(front.german).split()) == german
