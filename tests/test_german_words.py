"""Words of the generated pair: declension, conjugation, numbers, comparison, the dictionary's entries."""

import pytest
from german import NOUNS, VERBS, noun_phrase, verb_of

from mqa_jax.data.english_german import inflection, lexicon
from mqa_jax.data.english_german.clauses import (
    Clause,
)
from mqa_jax.data.english_german.inflection import ACC
from mqa_jax.data.english_german.phrases import Nominal
from mqa_jax.data.english_german.words import Noun, Verb, adjectives, nouns, verb

DECLENSIONS = """
the old man: der alte Mann, den alten Mann, dem alten Mann, des alten Mannes
the old woman: die alte Frau, die alte Frau, der alten Frau, der alten Frau
the young child: das junge Kind, das junge Kind, dem jungen Kind, des jungen Kindes
the young children: die jungen Kinder, die jungen Kinder, den jungen Kindern, der jungen Kinder
the young student: der junge Student, den jungen Studenten, dem jungen Studenten, des jungen Studenten
the poor neighbour: der arme Nachbar, den armen Nachbarn, dem armen Nachbarn, des armen Nachbarn
the strong boy: der starke Junge, den starken Jungen, dem starken Jungen, des starken Jungen
the tired farmers: die müden Bauern, die müden Bauern, den müden Bauern, der müden Bauern
the happy girls: die glücklichen Mädchen, die glücklichen Mädchen, den glücklichen Mädchen, der glücklichen Mädchen
the sad queens: die traurigen Königinnen, die traurigen Königinnen, den traurigen Königinnen, der traurigen Königinnen
the bosses: die Chefs, die Chefs, den Chefs, der Chefs
a red table: ein roter Tisch, einen roten Tisch, einem roten Tisch, eines roten Tisches
a red lamp: eine rote Lampe, eine rote Lampe, einer roten Lampe, einer roten Lampe
a red book: ein rotes Buch, ein rotes Buch, einem roten Buch, eines roten Buches
an expensive hat: ein teurer Hut, einen teuren Hut, einem teuren Hut, eines teuren Huts
an honest king: ein ehrlicher König, einen ehrlichen König, einem ehrlichen König, eines ehrlichen Königs
no old bear: kein alter Bär, keinen alten Bären, keinem alten Bären, keines alten Bären
this dark house: dieses dunkle Haus, dieses dunkle Haus, diesem dunklen Haus, dieses dunklen Hauses
these old houses: diese alten Häuser, diese alten Häuser, diesen alten Häusern, dieser alten Häuser
that quiet garden: jener ruhige Garten, jenen ruhigen Garten, jenem ruhigen Garten, jenes ruhigen Gartens
those secrets: jene Geheimnisse, jene Geheimnisse, jenen Geheimnissen, jener Geheimnisse
every new museum: jedes neue Museum, jedes neue Museum, jedem neuen Museum, jedes neuen Museums
my new car: mein neues Auto, mein neues Auto, meinem neuen Auto, meines neuen Autos
our new key: unser neuer Schlüssel, unseren neuen Schlüssel, unserem neuen Schlüssel, unseres neuen Schlüssels
our new cars: unsere neuen Autos, unsere neuen Autos, unseren neuen Autos, unserer neuen Autos
red flowers: rote Blumen, rote Blumen, roten Blumen, roter Blumen
many old books: viele alte Bücher, viele alte Bücher, vielen alten Büchern, vieler alter Bücher
some old cities: einige alte Städte, einige alte Städte, einigen alten Städten, einiger alter Städte
several small mice: mehrere kleine Mäuse, mehrere kleine Mäuse, mehreren kleinen Mäusen, mehrerer kleiner Mäuse
few new beds: wenige neue Betten, wenige neue Betten, wenigen neuen Betten, weniger neuer Betten
all the old clocks: alle alten Uhren, alle alten Uhren, allen alten Uhren, aller alten Uhren
both good questions: beide guten Fragen, beide guten Fragen, beiden guten Fragen, beider guten Fragen
any small knives: keine kleinen Messer, keine kleinen Messer, keinen kleinen Messern, keiner kleinen Messer
"""


@pytest.mark.parametrize("line", DECLENSIONS.strip().splitlines())
def test_declension(line):
    english, german = line.split(": ")
    made = noun_phrase(english)
    assert (made.english, ", ".join(made.german)) == (english, german)


CONJUGATIONS = """
kaufen: ich kaufe, er kauft, sie kaufen, er kaufte, sie kauften, hat gekauft, zu kaufen
lesen: ich lese, er liest, sie lesen, er las, sie lasen, hat gelesen, zu lesen
essen: ich esse, er isst, sie essen, er aß, sie aßen, hat gegessen, zu essen
wissen: ich weiß, er weiß, sie wissen, er wusste, sie wussten, hat gewusst, zu wissen
zulächeln: ich lächle zu, er lächelt zu, sie lächeln zu, er lächelte zu, sie lächelten zu, hat zugelächelt, zuzulächeln
bewundern: ich bewundere, er bewundert, sie bewundern, er bewunderte, sie bewunderten, hat bewundert, zu bewundern
fliehen: ich fliehe, er flieht, sie fliehen, er floh, sie flohen, ist geflohen, zu fliehen
einladen: ich lade ein, er lädt ein, sie laden ein, er lud ein, sie luden ein, hat eingeladen, einzuladen
retten: ich rette, er rettet, sie retten, er rettete, sie retteten, hat gerettet, zu retten
laufen: ich laufe, er läuft, sie laufen, er lief, sie liefen, ist gelaufen, zu laufen
"""


@pytest.mark.parametrize("line", CONJUGATIONS.strip().splitlines())
def test_conjugation(line):
    infinitive, german = line.split(": ")
    found = verb_of(infinitive)
    nobody = Nominal("", "", ("",) * 4, "m", "person")
    forms = []
    for tense, pronoun, agreement in (
        ("present", "ich ", 0), ("present", "er ", 1), ("present", "sie ", 2), ("past", "er ", 1), ("past", "sie ", 2),
        ("perfect", "", 1),
    ):  # fmt: skip
        nobody.agreement = agreement
        forms.append(pronoun + " ".join(Clause(nobody, found, tense).german(front="").split()))
    forms.append(Clause(nobody, found, "infinitive").infinitive("").german)
    assert ", ".join(forms) == german


def test_sein_haben_werden():
    assert lexicon.BE.present == ("bin", "ist", "sind")
    assert lexicon.BE.preterite == ("war", "war", "waren")
    assert lexicon.HAVE.present == ("habe", "hat", "haben")
    assert lexicon.BECOME.present == ("werde", "wird", "werden")
    assert lexicon.BECOME.preterite == ("wurde", "wurde", "wurden")


@pytest.mark.parametrize(
    ("number", "english", "german"),
    [
        (2, "two", "zwei"),
        (12, "twelve", "zwölf"),
        (16, "sixteen", "sechzehn"),
        (17, "seventeen", "siebzehn"),
        (20, "twenty", "zwanzig"),
        (21, "twenty-one", "einundzwanzig"),
        (22, "twenty-two", "zweiundzwanzig"),
        (30, "thirty", "dreißig"),
        (66, "sixty-six", "sechsundsechzig"),
        (77, "seventy-seven", "siebenundsiebzig"),
        (100, "one hundred", "einhundert"),
        (112, "one hundred and twelve", "einhundertzwölf"),
        (345, "three hundred and forty-five", "dreihundertfünfundvierzig"),
        (999, "nine hundred and ninety-nine", "neunhundertneunundneunzig"),
    ],
)
def test_numbers(number, english, german):
    assert inflection.english_number(number) == english
    assert inflection.german_number(number) == german


@pytest.mark.parametrize(
    ("number", "english", "german"),
    [
        (1, "first", "erst"),
        (2, "second", "zweit"),
        (3, "third", "dritt"),
        (5, "fifth", "fünft"),
        (7, "seventh", "siebt"),
        (8, "eighth", "acht"),
        (12, "twelfth", "zwölft"),
        (20, "twentieth", "zwanzigst"),
        (21, "twenty-first", "einundzwanzigst"),
    ],
)
def test_ordinals(number, english, german):
    assert inflection.english_ordinal(number) == english
    assert inflection.german_ordinal(number) == german


def test_english_plurals():
    plurals = {each.english: each.english_plural for each in NOUNS}
    known = (
        "man men, woman women, policewoman policewomen, child children, thief thieves, midwife midwives, knife knives, \
        mouse mice, goose geese, wolf wolves, box boxes, witch witches, fairy fairies, key keys, potato potatoes, \
        radio radios, roof roofs, cave caves, university universities"
    )
    for english, plural in (entry.split() for entry in known.split(",")):
        assert plurals[english] == plural


def test_english_verb_forms():
    forms = {each.base: (each.third, each.past, each.participle, each.gerund) for each in VERBS}
    assert forms["carry"] == ("carries", "carried", "carried", "carrying")
    assert forms["hug"] == ("hugs", "hugged", "hugged", "hugging")
    assert forms["travel"] == ("travels", "travelled", "travelled", "travelling")
    assert forms["visit"] == ("visits", "visited", "visited", "visiting")
    assert forms["teach"] == ("teaches", "taught", "taught", "teaching")
    assert forms["lie"] == ("lies", "lay", "lain", "lying")
    assert forms["forget"] == ("forgets", "forgot", "forgotten", "forgetting")
    assert forms["flee"] == ("flees", "fled", "fled", "fleeing")
    assert forms["take care"] == ("takes care", "took care", "taken care", "taking care")


def test_comparison():
    table = adjectives(
        "brave mutig, big groß größer größt, tired müde, dark dunkel, expensive teuer, noisy laut, new neu"
    )
    assert [each.english[1:] for each in table] == [
        ("braver", "bravest"),
        ("bigger", "biggest"),
        ("more tired", "most tired"),
        ("darker", "darkest"),
        ("more expensive", "most expensive"),
        ("noisier", "noisiest"),
        ("newer", "newest"),
    ]
    assert [each.stems[1:] for each in table[:6]] == [
        ("mutiger", "mutigst"),
        ("größer", "größt"),
        ("müder", "müdest"),
        ("dunkler", "dunkelst"),
        ("teurer", "teuerst"),
        ("lauter", "lautest"),
    ]


def test_a_word_has_one_translation():
    """One English lemma in one use is one German word."""
    for table in (*lexicon.NOUNS.values(), *lexicon.VERBS.values(), *lexicon.ADJECTIVES.values()):
        keys = [_lemma(each) for each in table]
        assert len(set(keys)) == len(keys)


def _lemma(word) -> tuple:
    if isinstance(word, Verb):
        return word.base, word.particle, word.preposition
    return (word.english,) if isinstance(word, Noun) else word.english[:1]


def test_dictionary_entries():
    (bear,) = nouns("animal", "bear der Bär -en -en")
    assert bear.singular == ("Bär", "Bären", "Bären", "Bären")
    look = verb("look_forward_to = sich freuen freut freute hat gefreut : auf acc")
    assert (look.past, look.preposition, look.german_preposition, look.case) == ("looked forward", "to", "auf", ACC)
    assert look.reflexive and not look.prefix
    switch = verb("switch+on = ein|schalten schaltet schaltete hat geschaltet")
    assert (switch.particle, switch.prefix, switch.german_participle) == ("on", "ein", "eingeschaltet")
