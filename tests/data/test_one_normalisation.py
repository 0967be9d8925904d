"""Units and scoring know one normalisation of text: who writes exactly the targets has no errors."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.corpora.own.audio import make_corpus
from seqkd.data.kaldi import read_data_dir
from seqkd.data.tokens import train_tokenizer
from seqkd.decoding.lexicon import Lexicon
from seqkd.errors import DataError
from seqkd.scoring import score
from seqkd.teachers.external.sequence import fitted
from seqkd.teachers.external.vocabulary import Vocabulary, VocabularyMap

LINES = [  # twelve that NFKC changes
    *("der 1º platz", "½ liter milch", "und dann …", "zehn m² fläche", "№ 5", "ﬁnde ﬂüsse", "10 ℃ heute", "x³ plus y"),
    *("ＡＢＣ ｄｅｆ", "Ⅳ teile", "㎞ und ㎏", "ﬃ ǆ ĳ"),
]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("kind", ["char", "word", "bpe", "unigram"])
def test_writing_exactly_the_targets_is_no_error(kind: str, form: str) -> None:
    lines = [unicodedata.normalize(form, line) for line in LINES]
    tokenizer = train_tokenizer(lines * 3, type=kind, vocab_size={"bpe": 120, "unigram": 58}.get(kind, 0))
    written = [tokenizer.decode(tokenizer.encode(unicodedata.normalize("NFC", line))) for line in lines]
    found = score(lines, written)
    assert found.wer.rate == 0.0


@pytest.mark.parametrize(("train", "dev"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_sets_may_be_in_either_form(train: str, dev: str, tmp_path: Path) -> None:
    for number, (name, form) in enumerate({"train": train, "dev": dev, "test": dev}.items()):
        rows = ["path,text,speaker"]
        for n in range(6):
            noise = np.random.default_rng(10 * number + n).standard_normal(4000)
            soundfile.write(tmp_path / f"{name}{n}.wav", 0.1 * noise, 8000)
            text = unicodedata.normalize(form, f"größe café été {'été ' * number}{'ñ ' * n}é")
            rows.append(f"{name}{n}.wav,{text},{name}-{n}")
        (tmp_path / f"{name}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    tables = {name: tmp_path / f"{name}.csv" for name in ("train", "dev", "test")}
    make_corpus(tmp_path / "data", nj=1, sample_rate=8000, **tables)
    sets = {name: read_data_dir(tmp_path / "data" / name) for name in tables}
    assert all(unicodedata.is_normalized("NFC", u.text) for found in sets.values() for u in found)
    # A Kaldi directory of one's own may be in either form, too.
    text = tmp_path / "data" / "dev" / "text"
    text.write_text(unicodedata.normalize("NFD", text.read_text(encoding="utf-8")), encoding="utf-8")
    assert read_data_dir(tmp_path / "data" / "dev") == sets["dev"]
    tokenizer = train_tokenizer([u.text for u in sets["train"]], type="char", vocab_size=0)
    assert all(tokenizer.encode(u.text) for u in sets["dev"])


def test_zero_width_characters_are_no_words(tmp_path: Path) -> None:
    texts = ["\u200b", "a\u200bb", "\ufeffab", "co\u00adop", "\u200d", "\u0646\u200c\u0645", "ab \u200b ab"]
    rows = ["path,text,id"]
    for n, text in enumerate(texts * 6):
        soundfile.write(tmp_path / f"{n}.wav", 0.1 * np.random.default_rng(n).standard_normal(4000), 8000)
        rows.append(f"{n}.wav,{text},{n % len(texts)}-{n:02d}")
    (tmp_path / "all.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"transcript is empty \(12 "):
        make_corpus(tmp_path / "data", nj=1, sample_rate=8000, train=tmp_path / "all.csv")
    make_corpus(tmp_path / "data", nj=1, sample_rate=8000, train=tmp_path / "all.csv", drop_empty=True)
    found = {u.id[0]: u.text for name in ("train", "dev", "test") for u in read_data_dir(tmp_path / "data" / name)}
    assert found == {"1": "ab", "2": "ab", "3": "coop", "5": "\u0646\u200c\u0645", "6": "ab ab"}


def test_teachers_and_lexicons_are_spelled_as_the_units_are() -> None:
    student = train_tokenizer(["½ café 1º ab/2"], type="char", vocab_size=0)
    assert fitted("½ cafe\u0301 ª", student) == "½ café a"  # ª, which the student lacks, as a
    lexicon = Lexicon(["cafe\u0301", "½"], student)
    assert lexicon.words == ["café", "½"]
    teacher = Vocabulary.of(["<blank>", "▁", "½", "e\u0301", "ª", *"cafb"], blank=0, word_boundary="▁")
    rows = {row.label: row.piece for row in VocabularyMap.of(teacher, student).rows}
    assert (rows["½"], rows["e\u0301"], rows["ª"]) == ("½", "é", "a")
