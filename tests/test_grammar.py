"""The generated language pair: German written by hand as the measure, and properties of what is generated."""

import hashlib
import itertools
import re

import pytest

from mqa_jax.data import grammar
from mqa_jax.data.english_german import adverbials, inflection, lexicon, phrases
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
    MODALS,
    NEGATION,
    PLACE,
    RESULT,
    TIME,
    WHEN,
    WHERE,
    Clause,
    Part,
    german_only,
    object_part,
    particle,
)
from mqa_jax.data.english_german.composition import Gap
from mqa_jax.data.english_german.inflection import ACC, DAT, NOM, RELATIVE
from mqa_jax.data.english_german.phrases import PRONOUNS, Nominal, Phrase, anaphor, decline
from mqa_jax.data.english_german.words import Noun, Verb, adjectives, nouns, verb

NOUNS = list(itertools.chain(*lexicon.NOUNS.values()))
DETERMINERS = phrases.SINGULAR + phrases.PLURAL + phrases.NEGATED_PLURAL + [phrases.NO]
VERBS = list(itertools.chain(*lexicon.VERBS.values()))
for value in vars(lexicon).values():
    VERBS += [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, Verb)]


@pytest.fixture(scope="module")
def pairs():
    return grammar.pairs(20_000, seed=3)


def noun_phrase(english: str) -> Nominal:
    """`the old man`, from the lexicon: determiner, adjective or none, noun."""
    *front, last = english.split()
    noun, plural = next((each, each.english != last) for each in NOUNS if last in (each.english, each.english_plural))
    found = [each for each in itertools.chain(*lexicon.ADJECTIVES.values()) if front and each.english[0] == front[-1]]
    chosen = [(front.pop(), found[0].stems[0])] if found else []
    name = " ".join(front)
    determiner = next(each for each in DETERMINERS if each.english == ("a" if name == "an" else name))
    return decline(determiner, chosen, noun, plural)


def verb_of(infinitive: str) -> Verb:
    return next(each for each in VERBS if each.infinitive == infinitive)


def name(english: str, gender: str) -> Nominal:
    return Nominal(english, english, (english, english, english, english + "s"), gender, "person")


def pronoun(english: str) -> Nominal:
    found = anaphor(noun_phrase(english))
    assert found
    return found


ANNA, MAN = name("Anna", "f"), noun_phrase("the old man")
YESTERDAY = Part("yesterday", "gestern", TIME, WHEN)
IN_THE_GARDEN = Part("in the garden", "im Garten", PLACE, WHERE)

# --- Words -----------------------------------------------------------------------------------------------------------

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


# --- Phrases ---------------------------------------------------------------------------------------------------------


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


# --- Clauses ---------------------------------------------------------------------------------------------------------


def orders(clause: Clause, front: Phrase = Phrase("", "")) -> list[str]:
    """English, German main clause, the same as a question, and as a subordinate clause."""
    told = (
        clause.english(front.english),
        clause.german(front.german or None),
        clause.german(""),
        clause.german_final("weil"),
    )
    return [" ".join(each.split()) for each in told]


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


# --- What is generated -----------------------------------------------------------------------------------------------


def test_same_seed_same_pairs():
    assert grammar.pairs(500, seed=1) == grammar.pairs(500, seed=1)
    assert grammar.pairs(500, seed=1) != grammar.pairs(500, seed=2)
    assert grammar.pairs(500, seed=1) == grammar.pairs(800, seed=1)[:500]


def test_golden():
    """The same on every Python: a change here makes every earlier result on this task incomparable."""
    assert grammar.pairs(4, seed=0) == [
        (
            "A thirsty doctor asks of how many big camels every famous boss will think.",
            "Ein durstiger Arzt fragt, an wie viele große Kamele jeder berühmte Chef denken wird.",
        ),
        (
            "Unfortunately the doctor forgave Mrs Weinbaum last week.",
            "Leider verzieh der Arzt letzte Woche Frau Weinbaum.",
        ),
        (
            "As always the clever inspector who reported my very strange danger to every hard-working woman thought "
            "that he had run to the hospital.",
            "Wie immer dachte der kluge Kommissar, der jeder fleißigen Frau meine sehr seltsame Gefahr meldete, dass "
            "er zum Krankenhaus gelaufen war.",
        ),
        (
            "Unfortunately all the very clever grandmothers should be young next year.",
            "Leider sollten alle sehr klugen Großmütter nächstes Jahr jung sein.",
        ),
    ]
    fingerprint = hashlib.sha256(repr(grammar.pairs(2_000, seed=0)).encode()).hexdigest()
    assert fingerprint.startswith("31c16c87cf4e553d")


def test_splits_are_disjoint():
    splits = grammar.splits(3_000, seed=0, held_out=200)
    assert {name: len(split) for name, split in splits.items()} == {"train": 3_000, "dev": 200, "test": 200}
    for side in (0, 1):
        sentences = [pair[side] for split in splits.values() for pair in split]
        assert len(set(sentences)) == 3_400
    other = grammar.splits(100, seed=0, held_out=200)
    assert (other["dev"], other["test"]) == (splits["dev"], splits["test"])


def test_description_says_generated():
    assert "generated" in grammar.DESCRIPTION and "\n" not in grammar.DESCRIPTION


def test_no_sentence_has_two_translations():
    german_of = {}
    for english, german in itertools.islice(grammar.stream(seed=7), 50_000):
        assert german_of.setdefault(english, german) == german


def test_spelling(pairs):
    letters = r"[A-Za-z',\- ]"
    for english, german in pairs:
        assert re.fullmatch(rf"[A-Z]{letters}*[.?]", english)
        assert re.fullmatch(r"[A-ZÄÖÜ][A-Za-zÄÖÜäöüß, ]*[.?]", german)
        assert english[-1] == german[-1]
        for sentence in (english, german):
            assert "  " not in sentence and " ," not in sentence and not re.search(",[^ ]|,[.?]", sentence)


def test_length(pairs):
    lengths = [len(english.split()) for english, _ in pairs]
    assert max(lengths) <= 30
    assert 11 <= sum(lengths) / len(lengths) <= 15


def test_a_and_an(pairs):
    following = {match for english, _ in pairs for match in re.findall(r"\b([Aa]n?) (\w+)", english)}
    for article, word in following:
        vowel = (word[0] in "aeiou" and word not in ("useful", "uniform", "university")) or word in ("honest",)
        assert article.lower() == ("an" if vowel else "a"), word


FINITE = {prefix + form for each in VERBS for form in each.present + each.preterite for prefix in ("", each.prefix)}
FINITE |= set(itertools.chain(*MODALS.values()))


def test_verb_second(pairs):
    """After a time or a comment at the head of the sentence comes the verb."""
    fronts = [german.lower() for table in (lexicon.COMMENTS, *lexicon.TIMES.values()) for _, german in table]
    fronts.sort(key=len, reverse=True)
    after = re.compile(rf"(?:{'|'.join(fronts)}) (\w+)", re.IGNORECASE)
    found = [(match[1], german) for _, german in pairs if (match := after.match(german))]
    assert len(found) > 500
    for word, german in found:
        assert word in FINITE, german


def test_verb_last(pairs):
    """In a subordinate clause at the end of the sentence."""
    last = re.compile(r", (?:dass|weil|ob|obwohl|bevor|sobald|nachdem) (?:[^,]* )?(\w+)[.]$")
    found = [(match[1], german) for _, german in pairs if (match := last.search(german))]
    assert len(found) > 500
    for word, german in found:
        assert word in FINITE, german


def test_relative_pronouns_agree_with_their_heads(pairs):
    genders = {}
    for each in NOUNS:
        for gender, form in [*((each.gender, form) for form in each.singular), *(("p", form) for form in each.plural)]:
            genders.setdefault(form, set()).add(gender)
    fits = {"der": "mf", "die": "fp", "das": "n", "den": "m", "dem": "mn", "denen": "p", "dessen": "mn", "deren": "fp"}
    relative = re.compile(rf"(\w+), ({'|'.join(fits)}) ")
    infinitive = re.compile(r"\b(to|without|instead)\b")  # versucht, der Frau zu helfen
    found = [match for english, german in pairs if not infinitive.search(english) for match in relative.findall(german)]
    assert len(found) > 1_000
    for head, pronoun in found:
        assert head not in genders or genders[head] & set(fits[pronoun]), (head, pronoun)
