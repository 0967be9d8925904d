"""Reading manual pages, aligning two languages of them, and splitting them by page."""

import gzip
import json
import os
import random
import re
import subprocess
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from seqkd.corpora import debian
from seqkd.corpora.debian import packages_of
from seqkd.corpora.text.manpages import (
    extract_pairs,
    fetch_pages,
    find_pages,
    group_pages,
    make_corpus,
    masked,
    near_repeats,
    page_of,
    split_pairs,
)
from seqkd.corpora.text.manpages_align import Limits, align, fault, page_pairs, sentences
from seqkd.corpora.text.manpages_roff import Block, arguments, parse_page, plain_text
from seqkd.errors import ConfigError, DataError
from seqkd.translation.pairs import SentencePair, read_pairs

ENGLISH = r""".\" A licence that is nobody's sentence
.TH halve 3 2023-02-05 "Tests"
.SH NAME
halve, half \- compute one half of a number
.SH SYNOPSIS
.nf
.B #include <halve.h>
.PP
.BI "int halve(int " number );
.fi
.SH DESCRIPTION
The
.BR halve ()
function computes one half of its argument
.IR number ,
see also
.BR bc (1).
.\" A comment between the lines
It does so \(lqexactly\(rq; read
.UR https://example.org
the manual
.UE .
.PP
There are two flags:
.TP
.B HALVE_UP
Round the result up to the next whole number.
.TP
.BR HALVE_DOWN " (the default)"
Round the result down to the next whole number.
.IP \[bu] 3
Negative numbers are rounded towards zero\c
, always.
.SS Speed of the function
.EX
halve(3);
.EE
It is as fast as a shift, and
.B not
slower than a division by two.
.SH SEE ALSO
.BR bc (1),
.BR dc (1)
"""

GERMAN = r""".\" -*- coding: UTF-8 -*-
.TH halve 3 "5. Februar 2023" Tests
.SH BEZEICHNUNG
halve, half \- berechnet die Hälfte einer Zahl
.SH ÜBERSICHT
.nf
\fB#include <halve.h>\fP
.PP
\fBint halve(int \fP\fIzahl\fP\fB);\fP
.fi
.SH BESCHREIBUNG
Die Funktion \fBhalve\fP() berechnet die Hälfte ihres Arguments \fIzahl\fP, siehe
auch \fBbc\fP(1). Sie tut das »genau«; lesen Sie
.UR https://example.org
das Handbuch
.UE .
.PP
Es gibt zwei Schalter:
.TP
\fBHALVE_UP\fP
Das Ergebnis wird auf die nächste ganze Zahl aufgerundet.
.TP
\fBHALVE_DOWN\fP (die Vorgabe)
Das Ergebnis wird auf die nächste ganze Zahl abgerundet.
.IP \[bu] 3
Negative Zahlen werden immer zur Null hin gerundet.
.SS "Geschwindigkeit der Funktion"
.EX
halve(3);
.EE
Sie ist so schnell wie ein Schiebebefehl und \fBnicht\fP langsamer als eine Division
durch zwei.
.SH "SIEHE AUCH"
\fBbc\fP(1), \fBdc\fP(1)
.PP
.SH ÜBERSETZUNG
Die deutsche Übersetzung dieser Handbuchseite wurde von niemandem erstellt.
"""

EXPECTED = [
    ("compute one half of a number", "berechnet die Hälfte einer Zahl"),
    (
        "The halve() function computes one half of its argument number, see also bc(1). It does so “exactly”; "
        "read the manual.",
        "Die Funktion halve() berechnet die Hälfte ihres Arguments zahl, siehe auch bc(1). Sie tut das »genau«; "
        "lesen Sie das Handbuch.",
    ),
    ("There are two flags:", "Es gibt zwei Schalter:"),
    (
        "Round the result up to the next whole number.",
        "Das Ergebnis wird auf die nächste ganze Zahl aufgerundet.",
    ),
    ("HALVE_DOWN (the default)", "HALVE_DOWN (die Vorgabe)"),
    (
        "Round the result down to the next whole number.",
        "Das Ergebnis wird auf die nächste ganze Zahl abgerundet.",
    ),
    ("Negative numbers are rounded towards zero, always.", "Negative Zahlen werden immer zur Null hin gerundet."),
    ("Speed of the function", "Geschwindigkeit der Funktion"),
    (
        "It is as fast as a shift, and not slower than a division by two.",
        "Sie ist so schnell wie ein Schiebebefehl und nicht langsamer als eine Division durch zwei.",
    ),
]


# Reading roff


@pytest.mark.parametrize(
    ("roff", "text"),
    [
        (r"\fBfork\fP(2) and \f[I]pid\f[] or \f(CWexec\fR", "fork(2) and pid or exec"),
        (r"a\-b \(co 2023 \[co] \(em \e \(rs", "a-b © 2023 © — \\ \\"),
        (r"\(lqquoted\(rq \*(lqtoo\*(rq \[aq]x\[aq] \(dqy\(dq", "“quoted” “too” 'x' \"y\""),
        (r"\s-1POSIX\s0 \s+2big\s-2 \m[red]x\m[]", "POSIX big x"),
        (r"\&.x \|a\^b c\~d e\ f g\%h \:i", ".x ab c d e f gh i"),
        (r"\(:a\(:o\(ss \['e]\[`a]\[^o]\[,c] \[u00E4]\[u20AC]", "äöß éàôç ä€"),
        ("a  b\tc  \u00addäh", "a b c däh"),
        (r"\n(.g", None),  # a register
        (r"\h'2n'x", None),  # a movement
        (r"\[nonsense]", None),
        (r"\*(T<", None),  # a string the page defines itself
        ("a\\", None),
    ],
)
def test_escapes(roff, text):
    assert plain_text(roff) == text


def test_arguments_of_a_macro():
    assert arguments(r'one "two words" three\ words "say ""hi""" "" x"y') == [
        "one",
        "two words",
        r"three\ words",
        'say "hi"',
        "",
        'x"y',
    ]


def kinds_and_texts(source):
    return [(block.kind, block.text) for block in parse_page(source)]


def test_blocks_of_a_page():
    blocks = parse_page(ENGLISH)
    assert [block.kind for block in blocks] == [
        *("SH", "P", "SH", "nf", "SH", "P", "P", "TP", "TD", "TP", "TD", "IP", "SS", "nf", "P", "SH", "P")
    ]
    assert [block.text for block in blocks if block.kind == "TP"] == ["HALVE_UP", "HALVE_DOWN (the default)"]
    assert {block.text for block in blocks if block.kind == "nf"} == {""}
    assert [block.section for block in blocks if block.kind == "SH"] == [1, 2, 3, 4]


def test_what_is_not_shown_is_not_read():
    source = r""".SH X
.if n hidden words
.ie \n(.g \{\
hidden words
.\}
.ig
hidden words
..
.de Q
hidden words
..
'\" hidden words
Shown \" hidden words
.TS
hidden words
.TE
.SY hidden
words
.YS
too."""
    assert kinds_and_texts(source) == [("SH", "X"), ("P", "Shown"), ("nf", ""), ("nf", ""), ("P", "too.")]


def test_heading_on_the_next_line_links_and_paragraphs():
    source = """.SH
On the next line
First.

Second.
.sp
Third
.MT a@example.org
.ME ,
.UR http://example.org
.UE
.MR fork 2 .
.TP
.I tag
.br
After the break.
.IP "a long tag" 4
Item."""
    assert kinds_and_texts(source) == [
        ("SH", "On the next line"),
        ("P", "First."),
        ("P", "Second."),
        ("P", "Third a@example.org, http://example.org fork(2)."),
        ("TP", "tag"),
        ("P", "After the break."),
        ("TP", "a long tag"),
        ("IP", "Item."),
    ]


# Aligning


def test_pairs_of_a_page():
    kept, dropped = page_pairs(parse_page(ENGLISH), parse_page(GERMAN), Limits())
    assert kept == EXPECTED
    # HALVE_UP is one word, SEE ALSO the same in both languages; the synopsis is not looked at.
    assert dropped == {"code or tables": 1, "shorter than 2 words": 1, "mostly not letters": 1}


def test_a_section_with_other_blocks_gives_no_pairs():
    changed = GERMAN.replace(".SS ", ".PP\nEtwas mehr.\n.SS ")
    assert align(parse_page(ENGLISH), parse_page(changed)) is None  # it is most of the page
    rest = "".join(f".SH Section {number}\nSome text to read here.\n.PP\nAnd some more.\n" for number in range(40))
    pairs = align(
        parse_page(ENGLISH + rest), parse_page(changed.split(".SH ÜBERS")[0] + ".SH" + changed.split(".SH")[2] + rest)
    )
    assert pairs is None  # one section more, in the middle
    german = changed[: changed.index(".SH ÜBERSETZUNG")] + rest
    pairs = align(parse_page(ENGLISH + rest), parse_page(german))
    sections = {source.section for source, _ in pairs}
    assert sections == {1, 4, *range(5, 45)}  # not the synopsis (2), not the description (3)


def test_a_missing_section_makes_another_page():
    assert align(parse_page(ENGLISH), parse_page(GERMAN.split('.SH "SIEHE')[0].split(".SH ÜBERS")[0])) is None
    assert align([], parse_page(GERMAN)) is None


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("Read the file.", "Die Datei lesen.", None),
        ("Never!", "Niemals im Leben!", "shorter than 2 words"),
        ("word " * 61, "Wort " * 50, "longer than 60 words"),
        ("0x00 - 0x1f (C0)", "0x00 bis 0x1f (C0)", "mostly not letters"),
        ("MSG_PEEK (since Linux 2.2)", "MSG_PEEK (seit Linux 2.2)", "not translated"),
        ('setlocale(LC_CTYPE, "")', 'setlocale(LC_CTYPE, ""),', "not translated"),
        ("This is not translated at all here", "This was not even translated there in German", "in the wrong language"),
        ("Read it.", "Lesen Sie diese Datei, und zwar von Anfang bis Ende.", "of too different lengths"),
        ("The same as open(2) here", "Dasselbe wie close(2) ist es hier", "with different references"),
        ("Since version 17 it works well", "Seit Version 18 geht es ganz gut", "with different numbers"),
        ("See the ioctl(2) calls", "Siehe die Geräte-ioctl(2)-Aufrufe", None),
        ("an I/O error occurred", "ein E/A-Fehler ist aufgetreten", None),
    ],
)
def test_faults_of_pairs(source, target, reason):
    assert fault(source, target, Limits()) == reason


def test_sentences():
    text = "Es gilt z. B. für A. und B. Danach (siehe unten.) Dann »hier.« Und Linux 2.6. Ende! Wirklich? Ja."
    assert sentences(text) == [
        "Es gilt z. B. für A. und B. Danach (siehe unten.)",
        "Dann »hier.«",
        "Und Linux 2.6. Ende!",
        "Wirklich?",
        "Ja.",
    ]
    assert sentences("One only") == ["One only"]


def test_long_paragraphs_are_taken_sentence_by_sentence_if_both_have_as_many():
    def blocks(*texts):
        return [Block("SH", "X", 1), *(Block("P", text, 1) for text in texts)]

    english = "This is the first of the long sentences here. And this is the second of them all."
    german = "Dies ist der erste der langen Sätze hier. Und dies ist der zweite von ihnen allen."
    kept, dropped = page_pairs(blocks(english), blocks(german), Limits(max_words=10))
    assert [source for source, _ in kept] == [
        "This is the first of the long sentences here.",
        "And this is the second of them all.",
    ]
    assert not dropped
    kept, dropped = page_pairs(blocks(english), blocks(german.replace(". Und", " und")), Limits(max_words=10))
    assert (kept, dropped) == ([], {"longer than 10 words": 1})
    swapped = "Kurz ist gut. " + german.replace("hier. Und", "hier, und")  # as many, but not the same ones
    kept, dropped = page_pairs(blocks(english), blocks(swapped), Limits(max_words=10))
    assert (kept, dropped) == ([], {"longer than 10 words": 1})
    kept, _ = page_pairs(blocks(english), blocks(german), Limits(max_words=60))
    assert kept == [(english, german)]


# Splitting


def test_masked_text():
    assert masked("The fork(2) call sets errno to EINTR since Linux 2.6.") == "the _ call sets errno to _ since linux _"
    assert masked("Use getuid() first!") == masked("use getgid() first")


def page(name, *texts):
    return [SentencePair(f"{name}-{number:04d}", text, f"Ziel {text}") for number, text in enumerate(texts, start=1)]


def test_pages_with_mostly_the_same_paragraphs_are_a_group():
    common = ["sets the user identity", "returns nothing at all", "may fail for some reason"]
    pairs = [
        *page("setuid.2", *common, "a fourth remark", "a fifth remark"),
        *page("setgid.2", *common, "something else", "and more besides"),
        *page("chown.2", common[0], "changes owners", "of files", "and folders"),
        *page("other.3", "unrelated"),
    ]
    groups = group_pages(pairs)
    assert groups == {"setuid.2": "setgid.2", "setgid.2": "setgid.2", "chown.2": "chown.2", "other.3": "other.3"}


def words(*key):
    """Eight made-up words that no other key has."""
    rng = random.Random(str(key))
    return " ".join("".join(rng.choices("aeioulmnrst", k=6)) for _ in range(8))


def many_pages():
    pairs = []
    for number in range(120):
        own = [f"{words(number, index)} text of its own" for index in range(8)]
        boilerplate = [f"on error {'xyz'[number % 3]}_error is returned", f"see also page_{number} of the manual"]
        pairs += page(f"page{number:03d}.2", *own, *boilerplate)
    return pairs


def test_split_by_page_with_every_text_once(tmp_path):
    pairs = many_pages()
    sets, repeated = split_pairs(pairs, {"test": 100, "dev": 80}, 1, tmp_path / "split.json")
    pages = {name: {page_of(pair) for pair in chosen} for name, chosen in sets.items()}
    texts = {name: {masked(pair.source) for pair in chosen} for name, chosen in sets.items()}
    for one, other in combinations(sets, 2):
        assert not pages[one] & pages[other]
        assert not texts[one] & texts[other]
    assert {name: len(pages[name]) for name in ("dev", "test")} == {"dev": 10, "test": 12}
    # Boilerplate, if it is the same but for a name, is only in train: three texts of one kind, one a page of the other.
    assert {name: len(chosen) for name, chosen in sets.items()} == {"train": 98 * 8 + 98 + 3, "dev": 80, "test": 96}
    assert repeated == len(pairs) - sum(map(len, sets.values()))
    assert sum(pair.source.startswith("on error") for pair in sets["train"]) == 3
    again, _ = split_pairs(pairs[::-1], {"test": 100, "dev": 80}, 1, tmp_path / "other.json")
    assert {name: {page_of(pair) for pair in chosen} for name, chosen in again.items()} == pages


def test_near_repeats():
    others = page("a.2", "the quick brown fox jumps over the lazy dog today", "nothing of the kind")
    near = page("b.2", "The quick brown fox jumps over the lazy cat today.", "the quick brown bear sleeps in its den")
    assert [pair.id for pair in near_repeats(near, others)] == ["b.2-0001"]
    assert near_repeats([], others) == []
    assert near_repeats(near, []) == []


# The corpus


def write_page(folder: Path, name: str, english: str, german: str) -> None:
    for language, text in (("", english), ("de", german)):
        file = folder / "usr" / "share" / "man" / language / f"man{name[-1]}" / f"{name}.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))


@pytest.fixture
def downloads(tmp_path):
    """Pages as the packages have them: forty of their own, aliases of two kinds, one with other contents."""
    folder = tmp_path / "downloads" / "manpages-en-de"
    for number in range(40):
        english = f".SH NAME\nx \\- {words(number)} of the pages\n.SH DESCRIPTION\n" + "".join(
            f"It is a text about {words(number, index)} and the rest.\n.PP\n" for index in range(5)
        )
        german = f".SH BEZEICHNUNG\nx \\- {words(number, 'de')} der Seiten\n.SH BESCHREIBUNG\n" + "".join(
            f"Das ist ein Text über {words(number, index, 'de')} und den Rest.\n.PP\n" for index in range(5)
        )
        write_page(folder, f"page{number:02d}.2", english, german + ".SH ÜBERSETZUNG\nJemand.\n")
    write_page(folder, "alias.2", ".so man2/page00.2\n", ".so man2/page00.2\n")
    write_page(folder, "broken.7", ENGLISH, ".SH NUR DAS\nHier steht etwas ganz anderes.\n")
    man = folder / "usr" / "share" / "man"
    (man / "de" / "man2" / "link.2.gz").symlink_to("page00.2.gz")
    (man / "man2" / "link.2.gz").symlink_to("page00.2.gz")
    (man / "man2" / "only_english.2.gz").write_bytes(gzip.compress(ENGLISH.encode()))
    notes = [{"package": "manpages", "version": "1.0-1", "licences": ["GPL-2+"]}]
    (folder / "packages.json").write_text(json.dumps(notes))
    return tmp_path / "downloads"


def test_aliases_are_left_out(downloads):
    pages = find_pages(downloads)
    assert len(pages) == 42
    assert "link.2" not in pages
    assert "only_english.2" not in pages
    pairs, dropped = extract_pairs(pages, Limits())
    assert dropped["pages: aliases"] == 1
    assert dropped["pages: with other blocks than their translations"] == 1
    assert Counter(page_of(pair) for pair in pairs)["page00.2"] == 6
    assert [pair.id for pair in pairs[:2]] == ["page00.2-0001", "page00.2-0002"]


def contents(path):
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def test_corpus(downloads, tmp_path, capsys):
    make_corpus(tmp_path / "one", nj=1, dev_pairs=60, test_pairs=60, downloads=downloads)
    sets = {name: read_pairs(tmp_path / "one" / name) for name in ("train", "dev", "test")}
    pages = {name: {page_of(pair) for pair in pairs} for name, pairs in sets.items()}
    for one, other in combinations(sets, 2):
        assert not pages[one] & pages[other]
        assert not near_repeats(sets[one], sets[other])
    assert 30 < len(sets["dev"]) <= 60
    assert 30 < len(sets["test"]) <= 60
    origin = json.loads((tmp_path / "one" / "origin.json").read_text())
    assert origin["packages"] == [{"package": "manpages", "version": "1.0-1", "licences": ["GPL-2+"]}]
    assert origin["sets"]["test"]["pairs"] == len(sets["test"])
    left_out = origin["dropped"]["repeated"] + sum(origin["nearly_repeated"].values())
    assert origin["pairs"] == 240 == sum(map(len, sets.values())) + left_out

    make_corpus(tmp_path / "two", nj=2, dev_pairs=60, test_pairs=60, downloads=downloads)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    capsys.readouterr()
    make_corpus(tmp_path / "two", nj=2, dev_pairs=60, test_pairs=60, downloads=downloads)
    assert "made already" in capsys.readouterr().err
    (tmp_path / "two" / "dev" / "tgt").unlink()  # as if interrupted
    make_corpus(tmp_path / "two", nj=2, dev_pairs=60, test_pairs=60, downloads=downloads)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    make_corpus(tmp_path / "two", nj=2, dev_pairs=60, test_pairs=60, downloads=downloads, seed=2)
    assert contents(tmp_path / "two") != contents(tmp_path / "one")


def test_part_of_the_training_pairs(downloads, tmp_path):
    common = {"nj": 1, "dev_pairs": 60, "test_pairs": 60, "downloads": downloads}
    for count in (30, 60):
        make_corpus(tmp_path / str(count), train_pairs=count, **common)
    few, more = (set(read_pairs(tmp_path / str(count) / "train")) for count in (30, 60))
    assert (len(few), len(more)) == (30, 60)
    assert few < more
    assert read_pairs(tmp_path / "30" / "test") == read_pairs(tmp_path / "60" / "test")


def test_wrong_settings(downloads, tmp_path):
    with pytest.raises(ConfigError, match="min_words is 5 and max_words 4; expected the latter to be larger"):
        make_corpus(tmp_path / "data", nj=1, min_words=5, max_words=4, downloads=downloads)
    with pytest.raises(ConfigError, match="test_pairs is 0, expected a whole number from 1"):
        make_corpus(tmp_path / "data", nj=1, test_pairs=0, downloads=downloads)
    with pytest.raises(DataError, match="test and dev ask for 2000 pairs, but there are only"):
        make_corpus(tmp_path / "data", nj=1, dev_pairs=1000, downloads=downloads)
    assert not (tmp_path / "data").exists()


def test_damaged_page(downloads, tmp_path):
    file = downloads / "manpages-en-de" / "usr" / "share" / "man" / "man2" / "page03.2.gz"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(DataError) as caught:
        make_corpus(tmp_path / "data", nj=1, downloads=downloads)
    assert str(caught.value).startswith(f"{file} cannot be read (")
    assert str(caught.value).endswith("); delete it and its folder to have it fetched again.")


# Fetching


def test_packages_cannot_be_had(tmp_path, monkeypatch):
    monkeypatch.setattr(debian.shutil, "which", lambda _: None)
    with pytest.raises(DataError) as caught:
        make_corpus(tmp_path / "data" / "default", nj=1)
    assert str(caught.value) == (
        "The manual pages could not be fetched (apt-get is not installed); put the Debian packages manpages_*.deb, "
        "manpages-dev_*.deb, manpages-de_*.deb and manpages-de-dev_*.deb (on a machine with dpkg), or their unpacked "
        f"folder usr/share/man, into {tmp_path / 'data' / 'downloads'} and run this again."
    )
    assert list((tmp_path / "data" / "downloads").iterdir()) == []


def fake_system(monkeypatch, pages: Path, log: list[str]) -> None:
    """Stand in for apt-get and dpkg: packages hold the pages that are given."""

    def run(command, cwd=None, **_):
        log.append(command[0])
        if command[0] == "apt-get":
            for package in command[2:]:
                (Path(cwd) / f"{package}_1%3a6.03-2_all.deb").write_bytes(b"deb")
        else:
            target = Path(command[3])
            if "manpages_" in command[2]:
                subprocess_copy(pages, target)
            doc = target / "usr" / "share" / "doc" / Path(command[2]).name.split("_")[0]
            doc.mkdir(parents=True)
            (doc / "copyright").write_text("License: GPL-2+\n text\nLicense: Expat\nLicense: GPL-2+\n")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(debian.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(debian.subprocess, "run", run)


def subprocess_copy(source: Path, target: Path) -> None:
    for file in source.rglob("*.gz"):
        if not file.is_symlink():
            new = target / file.relative_to(source)
            new.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(file.read_bytes())


def test_packages_are_fetched_once_and_described(downloads, tmp_path, monkeypatch):
    log: list[str] = []
    fake_system(monkeypatch, downloads / "manpages-en-de", log)
    leftover = tmp_path / "new" / ".tmp-killed" / "usr" / "share" / "man"
    (leftover / "de").mkdir(parents=True)
    (leftover / "man2").mkdir()
    (leftover / "man2" / "x.2.gz").touch()
    for name in ("one", "two"):
        make_corpus(tmp_path / name, nj=1, dev_pairs=60, test_pairs=60, downloads=tmp_path / "new")
    assert log == ["apt-get", "dpkg", "dpkg", "dpkg", "dpkg"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["manpages-en-de"]
    assert not list((tmp_path / "new").rglob("*.deb"))
    packages = json.loads((tmp_path / "one" / "origin.json").read_text())["packages"]
    assert [entry["package"] for entry in packages] == ["manpages", "manpages-de", "manpages-de-dev", "manpages-dev"]
    assert packages[0] == {"package": "manpages", "version": "1:6.03-2", "licences": ["Expat", "GPL-2+"]}


def test_packages_that_lie_there_need_no_network(downloads, tmp_path, monkeypatch):
    log: list[str] = []
    fake_system(monkeypatch, downloads / "manpages-en-de", log)
    (tmp_path / "new").mkdir()
    for package in ("manpages", "manpages-dev", "manpages-de", "manpages-de-dev"):
        (tmp_path / "new" / f"{package}_6.03-2_all.deb").write_bytes(b"deb")
    make_corpus(tmp_path / "data", nj=1, dev_pairs=60, test_pairs=60, downloads=tmp_path / "new")
    assert log == ["dpkg"] * 4
    assert len(list((tmp_path / "new").glob("*.deb"))) == 4  # the user's own are left alone


def test_the_packages_themselves(tmp_path):
    """With the network, or a folder named by SEQKD_MANPAGES that has the packages: every tenth of the real pages."""
    folder = Path(os.environ.get("SEQKD_MANPAGES", tmp_path / "downloads"))
    try:
        fetch_pages(folder)
    except DataError as error:
        pytest.skip(str(error))
    pages = find_pages(folder)
    assert len(pages) > 400
    pairs, dropped = extract_pairs(dict(list(pages.items())[::10]), Limits())
    assert dropped["pages: with other blocks than their translations"] < 5
    assert 800 < len(pairs) < 2000
    assert 15 < sum(pair.words[0] for pair in pairs) / len(pairs) < 30
    prose = " ".join(pair.source + pair.target for pair in pairs if not page_of(pair).startswith("man"))
    assert not re.search(r"\\f[BIRP(\[]|\\\(\w\w|\\-|\.BR", prose)
    # Most pairs name the same pages: what is aligned wrongly does not.
    names = [[set(re.findall(r"\w+\(\d\)", side)) for side in (pair.source, pair.target)] for pair in pairs]
    named = [source == target for source, target in names if source or target]
    assert sum(named) > 0.95 * len(named) > 100
    packages = packages_of(folder)
    assert {entry["package"] for entry in packages} == {"manpages", "manpages-de", "manpages-de-dev", "manpages-dev"}
    assert all(entry["version"] and entry["licences"] for entry in packages)
