"""Phrases of the generated pair: compounds, pronouns by gender, contractions, times."""

import pytest
from german import NOUNS, noun_phrase, pronoun

from mqa_jax.data.english_german import adverbials, phrases
from mqa_jax.data.english_german.inflection import ACC, DAT
from mqa_jax.data.english_german.phrases import anaphor


def test_compounds_decline_as_their_last_member():
    chair = next(each for each in NOUNS if each.english == "chair")
    found = {phrases.compound(phrases.Dice(seed), chair) for seed in range(60)}
    garden = next(each for each in found if each.english == "garden chair")
    assert garden.singular == ("Gartenstuhl", "Gartenstuhl", "Gartenstuhl", "Gartenstuhls")
    assert garden.plural[DAT] == "Gartenstühlen"


def test_pronouns_take_the_gender_of_the_german_noun():
    expected = {
        "the table": "er ihn ihm",
        "the lamp": "sie sie ihr",
        "the book": "es es ihm",
        "the books": "sie sie ihnen",
    }
    for english, german in expected.items():
        assert " ".join(pronoun(english).german) == german
    assert pronoun("the lamp").english == "it"
    assert pronoun("the widow").english == "she"
    assert anaphor(noun_phrase("the child")) is None


@pytest.mark.parametrize(
    ("preposition", "case", "english", "german"),
    [
        ("in", DAT, "the garden", "im Garten"),
        ("in", ACC, "the garden", "in den Garten"),
        ("in", ACC, "the house", "ins Haus"),
        ("an", DAT, "the old station", "am alten Bahnhof"),
        ("zu", DAT, "the university", "zur Universität"),
        ("zu", DAT, "the lake", "zum See"),
        ("zu", DAT, "the lakes", "zu den Seen"),
        ("von", DAT, "the king", "vom König"),
        ("in", DAT, "that garden", "in jenem Garten"),
        ("auf", ACC, "the roof", "auf das Dach"),
    ],
)
def test_contraction(preposition, case, english, german):
    assert adverbials.governed("", preposition, case, noun_phrase(english)).german == german


def test_times():
    times = {
        adverbials.time(dice, tense) for tense in ("past", "present", "future") for dice in [phrases.Dice(1)] * 20_000
    }
    german = {each.english: each.german for each in times}
    assert german["at half past three"] == "um halb vier"
    assert german["at half past twelve"] == "um halb eins"
    assert german["at one o'clock"] == "um ein Uhr"
    assert german["at a quarter to one"] == "um Viertel vor eins"
    assert german["two days ago"] == "vor zwei Tagen"
    assert german["on the twenty-first of March"] == "am einundzwanzigsten März"
    assert german["on the third of May"] == "am dritten Mai"
    assert german["during the war"] == "während des Krieges"
    assert german["after the wedding"] == "nach der Hochzeit"
