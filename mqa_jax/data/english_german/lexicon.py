"""The dictionary: several hundred English words with their one German translation, as tables that `words` reads."""

from mqa_jax.data.english_german.words import adjectives, entries, nouns, pairs, verb, verbs

# --- Nouns, by kind: the kind decides which verbs and adjectives go with them ----------------------------------------

_NOUNS = {
    "person": """
        man der Mann -es Männer, woman die Frau - -en, teacher der Lehrer -s -, child das Kind -es -er,
        mother die Mutter - Mütter, doctor der Arzt -es Ärzte, student der Student -en -en,
        sister die Schwester - -n, father der Vater -s Väter, friend der Freund -es -e, girl das Mädchen -s -,
        boy der Junge -n -n, neighbour der Nachbar -n -n, nurse die Krankenschwester - -n, king der König -s -e,
        brother der Bruder -s Brüder, queen die Königin - -nen, farmer der Bauer -n -n,
        daughter die Tochter - Töchter, baker der Bäcker -s -, aunt die Tante - -n, uncle der Onkel -s -,
        baby das Baby -s -s, son der Sohn -es Söhne, grandfather der Großvater -s Großväter,
        colleague der Kollege -n -n, grandmother die Großmutter - Großmütter, judge der Richter -s -,
        thief der Dieb -es -e, princess die Prinzessin - -nen, cook der Koch -s Köche, gardener der Gärtner -s -,
        waitress die Kellnerin - -nen, driver der Fahrer -s -, painter der Maler -s -,
        actress die Schauspielerin - -nen, writer der Schriftsteller -s -, engineer der Ingenieur -s -e,
        niece die Nichte - -n, lawyer der Anwalt -s Anwälte, soldier der Soldat -en -en, witch die Hexe - -n,
        pilot der Pilot -en -en, customer der Kunde -n -n, saleswoman die Verkäuferin - -nen,
        guest der Gast -es Gäste, mayor der Bürgermeister -s -, policewoman die Polizistin - -nen,
        musician der Musiker -s -, policeman der Polizist -en -en, countess die Gräfin - -nen,
        fisherman der Fischer -s -, waiter der Kellner -s -, nun die Nonne - -n, shepherd der Hirte -n -n,
        hunter der Jäger -s -, landlady die Vermieterin - -nen, butcher der Metzger -s -, tailor der Schneider -s -,
        heroine die Heldin - -nen, carpenter der Tischler -s -, boss der Chef -s -s,
        businesswoman die Geschäftsfrau - -en, prince der Prinz -en -en, captain der Kapitän -s -e,
        bride die Braut - Bräute, professor der Professor -s -en, tourist der Tourist -en -en, widow die Witwe - -n,
        expert der Experte -n -n, witness der Zeuge -n -n, girlfriend die Freundin - -nen, hero der Held -en -en,
        giant der Riese -n -n, granddaughter die Enkelin - -nen, inspector der Kommissar -s -e,
        journalist der Journalist -en -en, fairy die Fee - -n, scientist der Wissenschaftler -s -,
        politician der Politiker -s -, midwife die Hebamme - -n, merchant der Händler -s -, nephew der Neffe -n -n,
        grandson der Enkel -s -""",
    "animal": """
        dog der Hund -es -e, cat die Katze - -n, horse das Pferd -es -e, cow die Kuh - Kühe, bird der Vogel -s Vögel,
        pig das Schwein -s -e, goat die Ziege - -n, mouse die Maus - Mäuse, bear der Bär -en -en,
        lion der Löwe -n -n, wolf der Wolf -es Wölfe, fox der Fuchs -es Füchse, hare der Hase -n -n,
        duck die Ente - -n, goose die Gans - Gänse, donkey der Esel -s -, elephant der Elefant -en -en,
        monkey der Affe -n -n, snake die Schlange - -n, owl die Eule - -n, frog der Frosch -es Frösche,
        squirrel das Eichhörnchen -s -, hen das Huhn -s Hühner, camel das Kamel -s -e, raven der Rabe -n -n,
        hedgehog der Igel -s -, swan der Schwan -s Schwäne, calf das Kalb -s Kälber, tiger der Tiger -s -,
        crocodile das Krokodil -s -e, rabbit das Kaninchen -s -""",
    "thing": """
        key der Schlüssel -s -, bag die Tasche - -n, chair der Stuhl -s Stühle, clock die Uhr - -en,
        picture das Bild -es -er, knife das Messer -s -, box die Kiste - -n, bottle die Flasche - -n,
        bicycle das Fahrrad -s Fahrräder, car das Auto -s -s, umbrella der Regenschirm -s -e,
        suitcase der Koffer -s -, wallet die Brieftasche - -n, ring der Ring -s -e, mirror der Spiegel -s -,
        hammer der Hammer -s Hämmer, ladder die Leiter - -n, rope das Seil -s -e, bucket der Eimer -s -,
        basket der Korb -s Körbe, cup die Tasse - -n, plate der Teller -s -, spoon der Löffel -s -,
        fork die Gabel - -n, pot der Topf -s Töpfe, pan die Pfanne - -n, pillow das Kissen -s -,
        blanket die Decke - -n, guitar die Gitarre - -n, piano das Klavier -s -e, violin die Geige - -n,
        drum die Trommel - -n, flute die Flöte - -n, ball der Ball -s Bälle, doll die Puppe - -n,
        pencil der Bleistift -s -e, candle die Kerze - -n, flower die Blume - -n, gift das Geschenk -s -e,
        stamp die Briefmarke - -n, coin die Münze - -n, flag die Fahne - -n, sword das Schwert -s -er,
        bell die Glocke - -n, wheel das Rad -s Räder, map die Landkarte - -n, needle die Nadel - -n,
        broom der Besen -s -, carpet der Teppich -s -e, curtain der Vorhang -s Vorhänge, vase die Vase - -n,
        jug der Krug -s Krüge, barrel das Fass -es Fässer, boat das Boot -s -e, sledge der Schlitten -s -,
        tent das Zelt -s -e, saw die Säge - -n, axe die Axt - Äxte, shovel die Schaufel - -n,
        nail der Nagel -s Nägel, screw die Schraube - -n, battery die Batterie - -n, treasure der Schatz -es Schätze,
        crown die Krone - -n, tool das Werkzeug -s -e, rucksack der Rucksack -s Rucksäcke, tyre der Reifen -s -,
        toy das Spielzeug -s -e, bed das Bett -s -en""",
    "device": """
        lamp die Lampe - -n, machine die Maschine - -n, radio das Radio -s -s, television der Fernseher -s -,
        computer der Computer -s -, telephone das Telefon -s -e, camera die Kamera - -s, engine der Motor -s -en,
        printer der Drucker -s -, torch die Taschenlampe - -n, washing_machine die Waschmaschine - -n,
        oven der Ofen -s Öfen""",
    "opening": """
        door die Tür - -en, window das Fenster -s -, gate das Tor -s -e, drawer die Schublade - -n,
        cupboard der Schrank -s Schränke, chest die Truhe - -n, safe der Tresor -s -e""",
    "clothes": """
        hat der Hut -s Hüte, coat der Mantel -s Mäntel, shirt das Hemd -s -en, dress das Kleid -s -er,
        skirt der Rock -s Röcke, jacket die Jacke - -n, scarf der Schal -s -s, tie die Krawatte - -n,
        cap die Mütze - -n, belt der Gürtel -s -, jumper der Pullover -s -, apron die Schürze - -n,
        suit der Anzug -s Anzüge, blouse die Bluse - -n, uniform die Uniform - -en, waistcoat die Weste - -n""",
    "food": """
        apple der Apfel -s Äpfel, pear die Birne - -n, cake der Kuchen -s -, egg das Ei -s -er,
        sausage die Wurst - Würste, soup die Suppe - -n, potato die Kartoffel - -n, tomato die Tomate - -n,
        carrot die Karotte - -n, onion die Zwiebel - -n, roll das Brötchen -s -, banana die Banane - -n,
        cherry die Kirsche - -n, plum die Pflaume - -n, nut die Nuss - Nüsse, strawberry die Erdbeere - -n,
        pie die Pastete - -n, biscuit der Keks -es -e, pancake der Pfannkuchen -s -, mushroom der Pilz -es -e,
        lemon die Zitrone - -n, salad der Salat -s -e, melon die Melone - -n""",
    "drink": """
        coffee der Kaffee -s -s, tea der Tee -s -s, beer das Bier -s -e, wine der Wein -s -e,
        juice der Saft -s Säfte, cocoa der Kakao -s -s, lemonade die Limonade - -n""",
    "text": """
        book das Buch -es Bücher, letter der Brief -s -e, newspaper die Zeitung - -en, poem das Gedicht -s -e,
        novel der Roman -s -e, report der Bericht -s -e, message die Nachricht - -en, story die Geschichte - -n,
        article der Artikel -s -, contract der Vertrag -s Verträge, magazine die Zeitschrift - -en,
        diary das Tagebuch -s Tagebücher, recipe das Rezept -s -e, fairy_tale das Märchen -s -,
        timetable der Fahrplan -s Fahrpläne, list die Liste - -n, speech die Rede - -n, invoice die Rechnung - -en,
        essay der Aufsatz -es Aufsätze, song das Lied -es -er, postcard die Postkarte - -n""",
    "idea": """
        idea die Idee - -n, plan der Plan -s Pläne, question die Frage - -n, answer die Antwort - -en,
        problem das Problem -s -e, decision die Entscheidung - -en, mistake der Fehler -s -, rule die Regel - -n,
        secret das Geheimnis -ses -se, solution die Lösung - -en, dream der Traum -s Träume,
        reason der Grund -es Gründe, proposal der Vorschlag -s Vorschläge, project das Projekt -s -e,
        law das Gesetz -es -e, task die Aufgabe - -n, result das Ergebnis -ses -se, experiment das Experiment -s -e,
        method die Methode - -n, adventure das Abenteuer -s -, riddle das Rätsel -s -, theory die Theorie - -n,
        danger die Gefahr - -en, change die Veränderung - -en, condition die Bedingung - -en,
        example das Beispiel -s -e, game das Spiel -s -e, journey die Reise - -n""",
    "event": """
        war der Krieg -es -e, storm der Sturm -s Stürme, meeting die Sitzung - -en, concert das Konzert -s -e,
        wedding die Hochzeit - -en, party das Fest -es -e, breakfast das Frühstück -s -e,
        performance die Aufführung - -en, strike der Streik -s -s, exam die Prüfung - -en,
        accident der Unfall -s Unfälle, holiday der Feiertag -s -e, match das Spiel -s -e,
        revolution die Revolution - -en, conference die Konferenz - -en, flood die Flut - -en""",
    # Where things are, by the preposition that goes with the place: in dem Garten, auf dem Dach, an dem See.
    "room": """
        garden der Garten -s Gärten, house das Haus -es Häuser, kitchen die Küche - -n, city die Stadt - Städte,
        forest der Wald -es Wälder, school die Schule - -n, room das Zimmer -s -, cellar der Keller -s -,
        museum das Museum -s Museen, hotel das Hotel -s -s, church die Kirche - -n, village das Dorf -es Dörfer,
        factory die Fabrik - -en, library die Bibliothek - -en, office das Büro -s -s,
        restaurant das Restaurant -s -s, theatre das Theater -s -, cinema das Kino -s -s,
        castle das Schloss -es Schlösser, valley das Tal -s Täler, park der Park -s -s,
        hospital das Krankenhaus -es Krankenhäuser, cave die Höhle - -n, stable der Stall -s Ställe,
        bakery die Bäckerei - -en, tower der Turm -s Türme, barn die Scheune - -n, desert die Wüste - -n,
        hut die Hütte - -n, flat die Wohnung - -en, garage die Garage - -n, prison das Gefängnis -ses -se,
        laboratory das Labor -s -s, courtyard der Hof -s Höfe, hall die Halle - -n, bathroom das Badezimmer -s -,
        workshop die Werkstatt - Werkstätten, pharmacy die Apotheke - -n, temple der Tempel -s -""",
    "surface": """
        roof das Dach -es Dächer, bridge die Brücke - -n, hill der Hügel -s -, island die Insel - -n,
        square der Platz -es Plätze, market der Markt -es Märkte, meadow die Wiese - -n, field das Feld -es -er,
        terrace die Terrasse - -n, balcony der Balkon -s -s, street die Straße - -n, stage die Bühne - -n,
        mountain der Berg -es -e, bench die Bank - Bänke, sofa das Sofa -s -s, farm der Bauernhof -s Bauernhöfe,
        table der Tisch -es -e, wall die Mauer - -n""",
    "site": """
        station der Bahnhof -s Bahnhöfe, airport der Flughafen -s Flughäfen, harbour der Hafen -s Häfen,
        lake der See -s -n, river der Fluss -es Flüsse, beach der Strand -es Strände, border die Grenze - -n,
        fountain der Brunnen -s -, coast die Küste - -n, university die Universität - -en,
        bus_stop die Haltestelle - -n""",
    "landmark": """
        tree der Baum -es Bäume, statue die Statue - -n, fence der Zaun -s Zäune, tent das Zelt -s -e,
        car das Auto -s -s, lorry der Lastwagen -s -, ship das Schiff -es -e, rock der Felsen -s -,
        tower der Turm -s Türme, bed das Bett -s -en, house das Haus -es Häuser, church die Kirche - -n,
        door die Tür - -en, cupboard der Schrank -s Schränke""",
}
NOUNS = {kind: nouns(kind, table) for kind, table in _NOUNS.items()}

# What a thing may be part of: the door of the house.
PART_OF = {"opening": "room", "device": "room", "surface": "room", "idea": "event", "text": "event"}
COLOURED = ("thing", "device", "opening", "clothes")

# First members of compounds by the kind of the second, in the form that German joins them in: Gartenstuhl, Schulbuch.
_COMPOUNDS = {
    "thing": """
        garden = Garten, kitchen = Küchen, school = Schul, office = Büro, hotel = Hotel, silver = Silber,
        gold = Gold, iron = Eisen, wooden = Holz, paper = Papier, leather = Leder, glass = Glas, museum = Museums,
        hospital = Krankenhaus, factory = Fabrik, church = Kirchen, village = Dorf, castle = Schloss,
        theatre = Theater, cellar = Keller, library = Bibliotheks, ship = Schiffs, metal = Metall, stone = Stein,
        police = Polizei, sports = Sport, family = Familien, company = Firmen, army = Armee, travel = Reise,
        restaurant = Restaurant, holiday = Ferien, workshop = Werkstatt""",
    "device": """
        garden = Garten, kitchen = Küchen, school = Schul, office = Büro, hotel = Hotel, museum = Museums,
        factory = Fabrik, hospital = Krankenhaus, theatre = Theater, cellar = Keller, library = Bibliotheks,
        ship = Schiffs, police = Polizei, family = Familien, company = Firmen, army = Armee, workshop = Werkstatt""",
    "opening": """
        garden = Garten, kitchen = Küchen, office = Büro, hotel = Hotel, iron = Eisen, wooden = Holz, glass = Glas,
        factory = Fabrik, church = Kirchen, castle = Schloss, cellar = Keller, metal = Metall, workshop = Werkstatt""",
    "clothes": """
        winter = Winter, summer = Sommer, school = Schul, leather = Leder, police = Polizei, sports = Sport,
        work = Arbeits, travel = Reise, wool = Woll, fur = Pelz, children's = Kinder""",
    "text": """
        school = Schul, police = Polizei, family = Familien, company = Firmen, travel = Reise, children's = Kinder,
        love = Liebes, hotel = Hotel, winter = Winter, war = Kriegs, church = Kirchen, practice = Übungs""",
}
COMPOUNDS = {kind: pairs(table) for kind, table in _COMPOUNDS.items()}


# --- Adjectives, by the kind of noun ---------------------------------------------------------------------------------

_ADJECTIVES = {
    "person": """
        young jung jünger jüngst, friendly freundlich, clever klug klüger klügst, tired müde, famous berühmt,
        old alt älter ältest, rich reich, happy glücklich, tall groß größer größt, poor arm ärmer ärmst,
        nervous nervös, brave mutig, lazy faul, sad traurig, strict streng, polite höflich, curious neugierig,
        proud stolz, lonely einsam, strong stark stärker stärkst, honest ehrlich, patient geduldig, angry wütend,
        jealous eifersüchtig, cheerful fröhlich, sick krank kränker kränkst, quiet ruhig, generous großzügig,
        experienced* erfahren, busy* beschäftigt, hungry hungrig, thirsty durstig, elegant elegant,
        modest bescheiden, careful vorsichtig, hard-working fleißig, stubborn stur, shy* schüchtern, kind nett,
        funny lustig, mad verrückt, suspicious* misstrauisch""",
    "animal": """
        small klein, hungry hungrig, big groß größer größt, wild wild, black* schwarz, young jung jünger jüngst,
        dangerous gefährlich, white* weiß, old alt älter ältest, tired müde, lazy faul, clever klug klüger klügst,
        strong stark stärker stärkst, fat dick, beautiful schön, strange seltsam, fast schnell, brave mutig,
        sick krank kränker kränkst, shy* schüchtern, brown* braun, grey* grau""",
    "thing": """
        new neu neuer neuest, red* rot, small klein, expensive teuer, old alt älter ältest, heavy schwer,
        blue* blau, beautiful schön, big groß größer größt, green* grün, dirty schmutzig, black* schwarz,
        cheap billig, white* weiß, broken* kaputt, yellow* gelb, light leicht, ugly hässlich, strange seltsam,
        modern modern, useful nützlich, valuable wertvoll, simple einfach, practical* praktisch, dusty staubig,
        magnificent prächtig, enormous* riesig, tiny winzig, clean sauber, perfect* perfekt, grey* grau,
        brown* braun, golden* golden, purple* violett""",
    "food": """
        fresh frisch, big groß größer größt, sweet süß, cold kalt kälter kältest, delicious lecker, small klein,
        hot heiß, sour* sauer, ripe reif, expensive teuer, cheap billig, old alt älter ältest""",
    "drink": """
        hot heiß, cold kalt kälter kältest, sweet süß, strong stark stärker stärkst, delicious lecker,
        expensive teuer, weak schwach schwächer schwächst""",
    "text": """
        long lang länger längst, interesting interessant, famous berühmt, short kurz kürzer kürzest,
        secret* geheim, sad traurig, new neu neuer neuest, difficult schwierig, old alt älter ältest,
        boring langweilig, exciting spannend, important wichtig, strange seltsam, beautiful schön, funny lustig,
        complicated kompliziert, good gut besser best, bad schlecht, ridiculous lächerlich""",
    "idea": """
        good gut besser best, strange seltsam, difficult schwierig, important wichtig, new neu neuer neuest,
        secret* geheim, old alt älter ältest, bad schlecht, interesting interessant, dangerous gefährlich,
        boring langweilig, necessary* notwendig, complicated kompliziert, famous berühmt, exciting spannend,
        big groß größer größt, clear klar, ridiculous lächerlich, simple einfach, useful nützlich""",
    "event": """
        long lang länger längst, terrible schrecklich, first* erst, unexpected* unerwartet,
        great groß größer größt, short kurz kürzer kürzest, important wichtig, last* letzt, famous berühmt,
        strange seltsam""",
    "landmark": """
        old alt älter ältest, big groß größer größt, white* weiß, beautiful schön, new neu neuer neuest,
        small klein, ugly hässlich, famous berühmt, strange seltsam, enormous* riesig, magnificent prächtig,
        green* grün, red* rot""",
    "room": """
        quiet ruhig, big groß größer größt, old alt älter ältest, dark dunkel, small klein, famous berühmt,
        new neu neuer neuest, cold kalt kälter kältest, beautiful schön, ugly hässlich, empty* leer, modern modern,
        warm warm wärmer wärmst, dirty schmutzig, clean sauber, wonderful* wunderbar, lonely einsam, noisy laut,
        narrow schmal""",
}
_COLOURS = "rot blau grün gelb schwarz weiß grau braun"
ADJECTIVES = {kind: adjectives(table) for kind, table in _ADJECTIVES.items()}
COLOURS = [adjective for adjective in ADJECTIVES["thing"] if adjective.german in _COLOURS.split()]
ADJECTIVES["surface"] = ADJECTIVES["site"] = ADJECTIVES["room"]
ADJECTIVES["device"] = ADJECTIVES["opening"] = ADJECTIVES["clothes"] = ADJECTIVES["thing"]

# --- Verbs -----------------------------------------------------------------------------------------------------------

BE = verb("be was been = sein ist war ist gewesen")
HAVE = verb("have had = haben hat hatte hat gehabt")
BE_DONE = verb("be was been = werden wird wurde ist worden")  # the passive
BECOME = verb("become became become = werden wird wurde ist geworden")
LIKE = verb("like = gefallen gefällt gefiel hat gefallen : dat")  # what is liked is the German subject
EXIST = verb("be was been = geben gibt gab hat gegeben")  # there is, es gibt
LOOK = verb("look = aus|sehen sieht sah hat gesehen")
REMAIN = verb("remain = bleiben bleibt blieb ist geblieben")
COST = verb("cost cost = kosten kostet kostete hat gekostet")
BELONG = verb("belong_to = gehören gehört gehörte hat gehört : dat")

# Verbs with an object in the accusative, by the kind of the object.
_ANYTHING = verbs("""
    see saw seen = sehen sieht sah hat gesehen, find found = finden findet fand hat gefunden,
    look_for = suchen sucht suchte hat gesucht, describe = beschreiben beschreibt beschrieb hat beschrieben,
    forget forgot forgotten = vergessen vergisst vergaß hat vergessen,
    admire = bewundern bewundert bewunderte hat bewundert, notice = bemerken bemerkt bemerkte hat bemerkt""")
_GOODS = (
    verbs("""
    buy bought = kaufen kauft kaufte hat gekauft, sell sold = verkaufen verkauft verkaufte hat verkauft,
    need = brauchen braucht brauchte hat gebraucht, order = bestellen bestellt bestellte hat bestellt,
    steal stole stolen = stehlen stiehlt stahl hat gestohlen, pay_for paid = bezahlen bezahlt bezahlte hat bezahlt,
    hide hid hidden = verstecken versteckt versteckte hat versteckt,
    bring+back brought = zurück|bringen bringt brachte hat gebracht,
    throw+away threw thrown = weg|werfen wirft warf hat geworfen,
    choose chose chosen = aus|wählen wählt wählte hat gewählt""")
    + _ANYTHING
)
_OBJECTS = _GOODS + verbs("""
    lose lost = verlieren verliert verlor hat verloren, repair = reparieren repariert reparierte hat repariert,
    clean = putzen putzt putzte hat geputzt, use = benutzen benutzt benutzte hat benutzt,
    carry = tragen trägt trug hat getragen, keep kept = behalten behält behielt hat behalten,
    borrow = aus|leihen leiht lieh hat geliehen, draw drew drawn = zeichnen zeichnet zeichnete hat gezeichnet,
    collect = sammeln sammelt sammelte hat gesammelt, take+along took taken = mit|nehmen nimmt nahm hat genommen,
    give+back gave given = zurück|geben gibt gab hat gegeben, pick+up = auf|heben hebt hob hat gehoben,
    photograph = fotografieren fotografiert fotografierte hat fotografiert,
    examine = untersuchen untersucht untersuchte hat untersucht, measure = messen misst maß hat gemessen,
    touch = berühren berührt berührte hat berührt, destroy = zerstören zerstört zerstörte hat zerstört,
    pack = ein|packen packt packte hat gepackt, paint = malen malt malte hat gemalt""")
VERBS = {
    "person": verbs("""
        visit = besuchen besucht besuchte hat besucht, meet met = treffen trifft traf hat getroffen,
        call = an|rufen ruft rief hat gerufen, invite = ein|laden lädt lud hat geladen,
        greet = begrüßen begrüßt begrüßte hat begrüßt, know knew known = kennen kennt kannte hat gekannt,
        love = lieben liebt liebte hat geliebt, wake+up woke woken = auf|wecken weckt weckte hat geweckt,
        accompany = begleiten begleitet begleitete hat begleitet, ask = fragen fragt fragte hat gefragt,
        hug = umarmen umarmt umarmte hat umarmt, rescue = retten rettet rettete hat gerettet,
        arrest = verhaften verhaftet verhaftete hat verhaftet, praise = loben lobt lobte hat gelobt,
        punish = bestrafen bestraft bestrafte hat bestraft, warn = warnen warnt warnte hat gewarnt,
        support = unterstützen unterstützt unterstützte hat unterstützt, fetch = ab|holen holt holte hat geholt,
        recognise = erkennen erkennt erkannte hat erkannt, convince = überzeugen überzeugt überzeugte hat überzeugt,
        watch = beobachten beobachtet beobachtete hat beobachtet, hear heard = hören hört hörte hat gehört,
        miss = vermissen vermisst vermisste hat vermisst, kiss = küssen küsst küsste hat geküsst,
        teach taught = unterrichten unterrichtet unterrichtete hat unterrichtet,
        insult = beleidigen beleidigt beleidigte hat beleidigt, comfort = trösten tröstet tröstete hat getröstet,
        disturb = stören stört störte hat gestört, avoid = meiden meidet mied hat gemieden,
        introduce = vor|stellen stellt stellte hat gestellt,
        interrupt = unterbrechen unterbricht unterbrach hat unterbrochen""")
    + _ANYTHING,
    "animal": verbs("""
        buy bought = kaufen kauft kaufte hat gekauft, sell sold = verkaufen verkauft verkaufte hat verkauft,
        feed fed = füttern füttert fütterte hat gefüttert, catch caught = fangen fängt fing hat gefangen,
        stroke = streicheln streichelt streichelte hat gestreichelt,
        watch = beobachten beobachtet beobachtete hat beobachtet, hear heard = hören hört hörte hat gehört,
        love = lieben liebt liebte hat geliebt, rescue = retten rettet rettete hat gerettet,
        wash = waschen wäscht wusch hat gewaschen,
        drive+away drove driven = vertreiben vertreibt vertrieb hat vertrieben""")
    + _ANYTHING,
    "thing": _OBJECTS,
    "device": verbs("""
        switch+on = ein|schalten schaltet schaltete hat geschaltet,
        switch+off = aus|schalten schaltet schaltete hat geschaltet""")
    + _OBJECTS,
    "opening": verbs("""
        open = öffnen öffnet öffnete hat geöffnet, close = schließen schließt schloss hat geschlossen,
        lock = ab|schließen schließt schloss hat geschlossen, paint = an|malen malt malte hat gemalt,
        clean = putzen putzt putzte hat geputzt, repair = reparieren repariert reparierte hat repariert"""),
    "clothes": verbs("""
        wear wore worn = tragen trägt trug hat getragen, put+on put = an|ziehen zieht zog hat gezogen,
        take+off took taken = aus|ziehen zieht zog hat gezogen, iron = bügeln bügelt bügelte hat gebügelt,
        wash = waschen wäscht wusch hat gewaschen, try+on tried = an|probieren probiert probierte hat probiert""")
    + _GOODS,
    "food": verbs("""
        eat ate eaten = essen isst aß hat gegessen, cook = kochen kocht kochte hat gekocht,
        taste = probieren probiert probierte hat probiert, smell smelt = riechen riecht roch hat gerochen,
        cut+up cut = zerschneiden zerschneidet zerschnitt hat zerschnitten""")
    + _GOODS,
    "drink": verbs("""
        drink drank drunk = trinken trinkt trank hat getrunken, order = bestellen bestellt bestellte hat bestellt,
        spill spilt = verschütten verschüttet verschüttete hat verschüttet,
        pay_for paid = bezahlen bezahlt bezahlte hat bezahlt, taste = probieren probiert probierte hat probiert,
        bring+back brought = zurück|bringen bringt brachte hat gebracht"""),
    "text": verbs("""
        read read = lesen liest las hat gelesen, write wrote written = schreiben schreibt schrieb hat geschrieben,
        translate = übersetzen übersetzt übersetzte hat übersetzt, print = drucken druckt druckte hat gedruckt,
        copy = ab|schreiben schreibt schrieb hat geschrieben,
        publish = veröffentlichen veröffentlicht veröffentlichte hat veröffentlicht,
        tear+up tore torn = zerreißen zerreißt zerriss hat zerrissen,
        lose lost = verlieren verliert verlor hat verloren, mention = erwähnen erwähnt erwähnte hat erwähnt,
        understand understood = verstehen versteht verstand hat verstanden""")
    + _GOODS,
    "idea": verbs("""
        understand understood = verstehen versteht verstand hat verstanden,
        discuss = besprechen bespricht besprach hat besprochen, explain = erklären erklärt erklärte hat erklärt,
        reject = ab|lehnen lehnt lehnte hat gelehnt, accept = an|nehmen nimmt nahm hat genommen,
        criticise = kritisieren kritisiert kritisierte hat kritisiert,
        know knew known = kennen kennt kannte hat gekannt,
        defend = verteidigen verteidigt verteidigte hat verteidigt,
        prepare = vor|bereiten bereitet bereitete hat bereitet, mention = erwähnen erwähnt erwähnte hat erwähnt""")
    + _ANYTHING,
    "event": verbs("""
        miss = verpassen verpasst verpasste hat verpasst, survive = überleben überlebt überlebte hat überlebt,
        describe = beschreiben beschreibt beschrieb hat beschrieben, mention = erwähnen erwähnt erwähnte hat erwähnt,
        forget forgot forgotten = vergessen vergisst vergaß hat vergessen"""),
    "room": verbs("""
        visit = besuchen besucht besuchte hat besucht, leave left = verlassen verlässt verließ hat verlassen,
        enter = betreten betritt betrat hat betreten, know knew known = kennen kennt kannte hat gekannt,
        photograph = fotografieren fotografiert fotografierte hat fotografiert""")
    + _ANYTHING,
}

HELPING = verbs("""
    help = helfen hilft half hat geholfen : dat, thank = danken dankt dankte hat gedankt : dat,
    follow = folgen folgt folgte ist gefolgt : dat, trust = vertrauen vertraut vertraute hat vertraut : dat,
    answer = antworten antwortet antwortete hat geantwortet : dat,
    congratulate = gratulieren gratuliert gratulierte hat gratuliert : dat,
    listen_to = zu|hören hört hörte hat gehört : dat,
    believe = glauben glaubt glaubte hat geglaubt : dat,
    forgive forgave forgiven = verzeihen verzeiht verzieh hat verziehen : dat,
    obey = gehorchen gehorcht gehorchte hat gehorcht : dat,
    contradict = widersprechen widerspricht widersprach hat widersprochen : dat,
    wave_to = zu|winken winkt winkte hat gewinkt : dat, smile_at = zu|lächeln lächelt lächelte hat gelächelt : dat
""")

# To someone, something. The second table is for verbs that need `to` in English.
GIVING = verbs("""
    give gave given = geben gibt gab hat gegeben, show showed shown = zeigen zeigt zeigte hat gezeigt,
    send sent = schicken schickt schickte hat geschickt, lend lent = leihen leiht lieh hat geliehen,
    sell sold = verkaufen verkauft verkaufte hat verkauft, bring brought = bringen bringt brachte hat gebracht,
    offer = an|bieten bietet bot hat geboten, promise = versprechen verspricht versprach hat versprochen,
    hand = überreichen überreicht überreichte hat überreicht
""")
TELLING = verbs("""
    explain = erklären erklärt erklärte hat erklärt, describe = beschreiben beschreibt beschrieb hat beschrieben,
    recommend = empfehlen empfiehlt empfahl hat empfohlen, report = melden meldet meldete hat gemeldet,
    mention = erwähnen erwähnt erwähnte hat erwähnt, present = vor|stellen stellt stellte hat gestellt,
    read+out read = vor|lesen liest las hat gelesen
""")

WAITING = verbs("""
    wait_for = warten wartet wartete hat gewartet : auf acc,
    think_of thought = denken denkt dachte hat gedacht : an acc,
    talk_about = sprechen spricht sprach hat gesprochen : über acc,
    dream_of = träumen träumt träumte hat geträumt : von dat,
    laugh_about = lachen lacht lachte hat gelacht : über acc,
    believe_in = glauben glaubt glaubte hat geglaubt : an acc, ask_for = bitten bittet bat hat gebeten : um acc,
    fight_for fought = kämpfen kämpft kämpfte hat gekämpft : für acc,
    watch_over = auf|passen passt passte hat gepasst : auf acc,
    pay_attention_to paid = achten achtet achtete hat geachtet : auf acc,
    look_forward_to = sich freuen freut freute hat gefreut : auf acc,
    remember = sich erinnern erinnert erinnerte hat erinnert : an acc,
    complain_about = sich beschweren beschwert beschwerte hat beschwert : über acc,
    rely_on = sich verlassen verlässt verließ hat verlassen : auf acc,
    long_for = sich sehnen sehnt sehnte hat gesehnt : nach dat,
    take_care_of took taken = sich kümmern kümmert kümmerte hat gekümmert : um acc,
    concentrate_on = sich konzentrieren konzentriert konzentrierte hat konzentriert : auf acc,
    get_used_to got = sich gewöhnen gewöhnt gewöhnte hat gewöhnt : an acc
""")

LYING = verbs("""
    stand stood = stehen steht stand hat gestanden, lie lay lain = liegen liegt lag hat gelegen
""")
STAYING = LYING + verbs("""
    sit sat = sitzen sitzt saß hat gesessen, sleep slept = schlafen schläft schlief hat geschlafen,
    wait = warten wartet wartete hat gewartet, stay = bleiben bleibt blieb ist geblieben,
    disappear = verschwinden verschwindet verschwand ist verschwunden
""")
TOGETHER = verbs("""
    work = arbeiten arbeitet arbeitete hat gearbeitet, live = wohnen wohnt wohnte hat gewohnt,
    play = spielen spielt spielte hat gespielt, dance = tanzen tanzt tanzte hat getanzt,
    sing sang sung = singen singt sang hat gesungen, study = lernen lernt lernte hat gelernt
""")
ACTING = (
    STAYING
    + TOGETHER
    + verbs("""
    cry = weinen weint weinte hat geweint,
    laugh = lachen lacht lachte hat gelacht, smoke = rauchen raucht rauchte hat geraucht,
    pray = beten betet betete hat gebetet,
    whisper = flüstern flüstert flüsterte hat geflüstert,
    fall+asleep fell fallen = ein|schlafen schläft schlief ist geschlafen, arrive = an|kommen kommt kam ist gekommen,
    wake+up woke woken = auf|wachen wacht wachte ist gewacht, get+up got = auf|stehen steht stand ist gestanden
""")
)
MOVING = verbs("""
    run ran run = laufen läuft lief ist gelaufen, jump = springen springt sprang ist gesprungen,
    crawl = kriechen kriecht kroch ist gekrochen, flee fled = fliehen flieht floh ist geflohen,
    come came come = kommen kommt kam ist gekommen, return = zurück|kehren kehrt kehrte ist gekehrt
""")
TRAVELLING = MOVING + verbs("""
    go went gone = gehen geht ging ist gegangen, drive drove driven = fahren fährt fuhr ist gefahren,
    hurry = eilen eilt eilte ist geeilt, travel = reisen reist reiste ist gereist,
    walk = spazieren spaziert spazierte ist spaziert
""")
PUTTING = verbs("""
    put put = legen legt legte hat gelegt, place = stellen stellt stellte hat gestellt,
    throw threw thrown = werfen wirft warf hat geworfen, carry = tragen trägt trug hat getragen,
    bring brought = bringen bringt brachte hat gebracht, push = schieben schiebt schob hat geschoben,
    pull = ziehen zieht zog hat gezogen
""")
HUNTING = verbs("""
    bite bit bitten = beißen beißt biss hat gebissen, chase = jagen jagt jagte hat gejagt,
    watch = beobachten beobachtet beobachtete hat beobachtet, hear heard = hören hört hörte hat gehört,
    see saw seen = sehen sieht sah hat gesehen, find found = finden findet fand hat gefunden
""")

SAYING = verbs("""
    say said = sagen sagt sagte hat gesagt, think thought = denken denkt dachte hat gedacht,
    believe = glauben glaubt glaubte hat geglaubt, know knew known = wissen weiß wusste hat gewusst,
    claim = behaupten behauptet behauptete hat behauptet, notice = bemerken bemerkt bemerkte hat bemerkt,
    fear = befürchten befürchtet befürchtete hat befürchtet, explain = erklären erklärt erklärte hat erklärt,
    discover = entdecken entdeckt entdeckte hat entdeckt, report = berichten berichtet berichtete hat berichtet,
    hear heard = hören hört hörte hat gehört, forget forgot forgotten = vergessen vergisst vergaß hat vergessen
""")
ASKING = verbs("""
    ask = fragen fragt fragte hat gefragt, wonder = sich fragen fragt fragte hat gefragt,
    know knew known = wissen weiß wusste hat gewusst, explain = erklären erklärt erklärte hat erklärt,
    discover = entdecken entdeckt entdeckte hat entdeckt,
    forget forgot forgotten = vergessen vergisst vergaß hat vergessen
""")
TRYING = verbs("""
    try = versuchen versucht versuchte hat versucht, hope = hoffen hofft hoffte hat gehofft,
    decide = beschließen beschließt beschloss hat beschlossen,
    forget forgot forgotten = vergessen vergisst vergaß hat vergessen,
    promise = versprechen verspricht versprach hat versprochen,
    begin began begun = beginnen beginnt begann hat begonnen, refuse = sich weigern weigert weigerte hat geweigert,
    plan = planen plant plante hat geplant
""")

# --- Adverbs and times -----------------------------------------------------------------------------------------------

# At the head of the sentence.
COMMENTS = pairs("""
    unfortunately = leider, fortunately = zum Glück, perhaps = vielleicht, therefore = deshalb, in the end = am Ende,
    of course = natürlich, as always = wie immer
""")
# Between auxiliary and verb; in German after what is known: hat die Lampe schon gekauft.
OFTEN = {
    "present": pairs("often = oft, always = immer, never = nie, rarely = selten, usually = meistens"),
    "past": pairs("often = oft, always = immer, never = nie, rarely = selten"),
    "perfect": pairs("already = schon, never = nie, often = oft, always = immer"),
    "pluperfect": pairs("already = schon, never = nie, often = oft"),
    "future": pairs("never = nie, always = immer, often = oft"),
}
# Between auxiliary and verb too, but in German before what is known: hat endlich die Lampe gekauft.
PROBABLY = {
    "present": pairs("probably = wahrscheinlich, obviously = offenbar"),
    "past": pairs("suddenly = plötzlich, finally = endlich, immediately = sofort, probably = wahrscheinlich"),
    "perfect": pairs("finally = endlich, probably = wahrscheinlich, obviously = offenbar"),
    "pluperfect": pairs("finally = endlich, obviously = offenbar, secretly = heimlich"),
    "future": pairs("probably = wahrscheinlich, certainly = sicher, soon = bald, finally = endlich"),
}
MANNERS = pairs("""
    quickly = schnell, slowly = langsam, carefully = vorsichtig, quietly = leise, patiently = geduldig,
    angrily = wütend, cheerfully = fröhlich, in a hurry = in Eile, with great pleasure = mit großer Freude,
    without any help = ohne Hilfe, with a smile = mit einem Lächeln
""")
MEANS = pairs("""
    by train = mit dem Zug, by bus = mit dem Bus, by car = mit dem Auto, by bicycle = mit dem Fahrrad,
    on foot = zu Fuß, by ship = mit dem Schiff, by tram = mit der Straßenbahn, by taxi = mit dem Taxi
""")
TIMES = {
    "present": pairs("""
        today = heute, now = jetzt, every day = jeden Tag, every evening = jeden Abend, every week = jede Woche,
        at the moment = im Moment, at night = nachts, in winter = im Winter, every year = jedes Jahr
    """),
    "past": pairs("""
        yesterday = gestern, last week = letzte Woche, last year = letztes Jahr, yesterday evening = gestern Abend,
        the day before yesterday = vorgestern, last night = letzte Nacht, at that time = damals,
        last summer = letzten Sommer
    """),
    "perfect": pairs("""
        today = heute, this morning = heute Morgen, this week = diese Woche,
        this year = dieses Jahr
    """),
    "future": pairs("""
        tomorrow = morgen, next week = nächste Woche, the day after tomorrow = übermorgen, next year = nächstes Jahr,
        this evening = heute Abend, tomorrow morning = morgen früh, next summer = nächsten Sommer
    """),
}
WEEKDAYS = pairs("""
    Monday = Montag, Tuesday = Dienstag, Wednesday = Mittwoch, Thursday = Donnerstag, Friday = Freitag,
    Saturday = Samstag, Sunday = Sonntag
""")
MONTHS = pairs("""
    January = Januar, February = Februar, March = März, April = April, May = Mai, June = Juni, July = Juli,
    August = August, September = September, October = Oktober, November = November, December = Dezember
""")
SPANS = pairs("days = Tage, weeks = Wochen, months = Monate, years = Jahre, hours = Stunden, minutes = Minuten")

# --- Names -----------------------------------------------------------------------------------------------------------

# None ends in s, x or z, so that every genitive is formed with s.
FIRST_NAMES = {
    "m": entries("""
        Peter, Paul, Karl, Otto, Stefan, Martin, Anton, Jakob, Emil, Oskar, Leo, Erik, Simon, David, Daniel, Florian,
        Walter, Georg, Hermann, Konrad, Robert, Bernd, Dieter, Frank, Wolfgang"""),
    "f": entries("""
        Anna, Maria, Clara, Sophie, Julia, Laura, Eva, Lena, Emma, Martha, Johanna, Katharina, Monika, Helga, Petra,
        Sabine, Ute, Greta, Lisa, Hanna, Nina, Paula, Rosa, Frieda, Marlene, Ida"""),
}
# Beginnings and endings.
SURNAMES = (
    entries("""
        Stein, Wald, Linden, Eichen, Rosen, Birken, Silber, Winter, Adler, Falken, Hirsch, Sonnen, Mond, Eisen, Wein,
        Kirsch, Gold, Eber"""),
    entries("bach, berg, feld, hof, mann, baum, dorf, bauer, meier, huber, thaler, brunner"),
)
TOWNS = (
    entries("""
        Neu, Alt, Ober, Unter, Stein, Birken, Linden, Rosen, Eichen, Kirch, Winter, Sonnen, Adler, Falken, Nieder,
        Hohen"""),
    entries("burg, berg, dorf, stadt, bach, hausen, heim, feld, brunn, furt, hofen"),
)
