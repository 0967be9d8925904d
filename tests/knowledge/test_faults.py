"""What the user is told when something is wrong with a book: one sentence, and nothing half-written."""

from __future__ import annotations

import errno
import json
import math
import multiprocessing
import os
import re
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from seqkd.errors import ConfigError, DataError, SeqkdError
from seqkd.knowledge import (
    Book,
    BookWriter,
    TeacherId,
    TeacherOutput,
    TopK,
    Uncertainty,
    merge,
    segments,
    verify,
    write_book,
)
from seqkd.knowledge.augmentation import speed
from tests.knowledge.books import CLASSES, FORMS, manifest, posteriors, write

PAGES = posteriors(10)


def says(sentence: str) -> str:
    """A pattern for the whole sentence, with * for what may differ."""
    return "^" + re.escape(sentence).replace(r"\*", "(.|\n)*") + "$"


# ---- a student that the book is not for


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (
            {"units": "tok2"},
            "the book {book} has tokenizer tok1 and the student tok2; make the book with the student's tokenizer",
        ),
        (
            {"classes": 7},
            "the book {book} has output classes 6 and the student 7; make the book with the student's units",
        ),
        ({"blank": 5}, "the book {book} has blank class 0 and the student 5; give both the same blank"),
        ({"blank": None}, "the book {book} has blank class 0 and the student none; give both the same blank"),
        (
            {"frame_shift_ms": 20.0},
            "the book {book} has frame shift in ms 40 and the student 20; choose encoders with the same subsampling",
        ),
        (
            {"features": {"sample_rate": 8000, "num_mel_bins": 80}},
            "the book {book} has features sample_rate 16000 and the student sample_rate 8000; set features= to what "
            "the book was made with",
        ),
        (
            {"teachers": ["bb22"]},
            "the book {book} has teachers large (aa11) and the student bb22; name the book of the teachers that are "
            "wanted, or make one",
        ),
        (
            {"seeds": 3},
            "the book {book} has augmentation seeds 1 and the student 3; make the book with more seeds",
        ),
        (
            {"uncertainty": True},
            "the book {book} has uncertainty fields False and the student True; make the book with uncertainty=True",
        ),
        (
            {"utterances": ["utt001", "utt01"]},
            "entries are missing (1): the book {book} has no utterance 'utt01'; the nearest is 'utt001'; with the data "
            "that is trained on run ./run.sh --stage book",
        ),
    ],
)
def test_a_student_that_the_book_is_not_for(tmp_path, wanted, sentence):
    book = write(tmp_path / "book", PAGES)
    with pytest.raises(SeqkdError, match=says(sentence.format(book=tmp_path / "book"))):
        book.require(**wanted)


def test_a_student_that_the_book_is_for(tmp_path):
    settings = {"units": "tok1", "classes": 6, "blank": 0, "frame_shift_ms": 40, "temperature": 1.0, "seeds": 1}
    settings |= {"teachers": ["aa11"], "utterances": PAGES, "augmentation": (), "uncertainty": False}
    book = write(tmp_path / "book", PAGES)
    assert book.require(**settings) is book


def test_an_unknown_utterance_names_the_nearest(tmp_path):
    book = write(tmp_path / "book", PAGES, seeds=2)
    with pytest.raises(DataError, match="no utterance 'utt0O3'; the nearest is 'utt003'; with the data"):
        book.read("utt0O3")
    with pytest.raises(
        DataError, match="no utterance '4711'; it has utterances 'utt000', 'utt001', 'utt002' and 7 more"
    ):
        book.read("4711")
    with pytest.raises(DataError, match="has utterance 'utt003', but not with seed 2; its seeds are 0 to 1"):
        book.read("utt003", 2)


# ---- what cannot be written


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"teachers": (TeacherId("other", "bb22"),)}, "teachers large (aa11) and what is to be written other (bb22)"),
        ({"units": "tok2"}, "tokenizer tok1 and what is to be written tok2"),
        ({"classes": 7}, "output classes 6 and what is to be written 7"),
        ({"blank": None}, "blank class 0 and what is to be written none"),
        ({"frame_shift_ms": 20.0}, "frame shift in ms 40 and what is to be written 20"),
        (
            {"features": {"sample_rate": 16000, "num_mel_bins": 40}},
            "features num_mel_bins 80 and what is to be written num_mel_bins 40",
        ),
        ({"temperature": 2.0}, "temperature 1 and what is to be written 2"),
        ({"form": TopK(2)}, "form Dense() and what is to be written TopK(k=2)"),
        (
            {"augmentation": (speed(factors=[0.9]),)},
            "augmentation none and what is to be written speed perturbation (factors [0.9])",
        ),
        ({"seeds": 2}, "augmentation seeds 1 and what is to be written 2"),
        ({"regularisation": 0.1}, "regularisation 0 and what is to be written 0.1"),
        ({"uncertainty": True}, "uncertainty fields False and what is to be written True"),
    ],
)
def test_another_manifest(tmp_path, change, field):
    directory = tmp_path / "book"
    write(directory, PAGES)
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=says(f"the book {directory} has {field}; *")):
        BookWriter(directory, manifest(**change)).__enter__()
    assert before == {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    write(tmp_path / "other", posteriors(3, classes=change.get("classes", CLASSES)), **change) if not (
        {"regularisation", "uncertainty"} & change.keys()
    ) else BookWriter(tmp_path / "other", manifest(**change)).__enter__().__exit__(None, None, None)
    with pytest.raises(ConfigError, match=says(f"the book {directory} has *and the book {tmp_path / 'other'} *; *")):
        merge(tmp_path / "joined", [directory, tmp_path / "other"])
    assert not (tmp_path / "joined").exists()


BAD = torch.full((3, CLASSES), 1 / CLASSES).log()


def broken(value: float) -> torch.Tensor:
    entry = BAD.clone()
    entry[1, 2] = value
    return entry


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            {"log_probs": broken(math.nan)},
            "utterance 'x' has a posterior with nan at frame 1 (1 such frames); check the *",
        ),
        (
            {"log_probs": broken(math.inf)},
            "utterance 'x' has a posterior with inf at frame 1 (1 such frames); check the *",
        ),
        (
            {"log_probs": torch.full((3, CLASSES), -math.inf)},
            "utterance 'x' has probabilities that add up to 0 at frame 0; expected log-probabilities, such as *",
        ),
        (
            {"log_probs": torch.ones(3, CLASSES)},
            "utterance 'x' has probabilities that add up to 16.31 at frame 0; expected log-probabilities, such as *",
        ),
        (
            {"log_probs": torch.zeros(3, 7).log_softmax(-1)},
            "utterance 'x' has a posterior of 7 classes and the manifest says 6; expected the teacher's output in the "
            "book's units",
        ),
        ({"log_probs": BAD[0]}, "utterance 'x' has a posterior of shape (6,), torch.float32; expected (T, C) floats"),
        ({"log_probs": BAD[:0]}, "utterance 'x' has no frames; leave it out"),
        ({"seed": 1}, "utterance 'x' has seed 1 and the book 1 seeds; expected less"),
        ({"utterance": "a\nb"}, r"utterance 'a\nb' is no id; expected a name of printable characters"),
        (
            {"targets": [0, 1, 2]},
            "utterance 'x' comes with targets, but the manifest's regularisation is 0; leave them out",
        ),
        (
            {"uncertainty": Uncertainty(torch.zeros(3), torch.zeros(3))},
            "utterance 'x' comes with uncertainty, but the manifest says otherwise; all entries have it or none",
        ),
        ({"utterance": "there"}, "utterance 'there' with seed 0 is in the book * already; every entry is written once"),
    ],
)
def test_a_page_that_cannot_be(tmp_path, arguments, sentence):
    with BookWriter(tmp_path / "book", manifest()) as writer:
        writer.add("there", BAD)
        with pytest.raises(SeqkdError, match=says(sentence)):
            writer.add(**{"utterance": "x", "log_probs": BAD} | arguments)
    assert Book.open(tmp_path / "book").utterances == ("there",)  # what was good is kept


@pytest.mark.parametrize(
    ("targets", "sentence"),
    [
        (None, "utterance 'x' has no targets; a regularised book needs a class for each of its 3 frames"),
        ([0, 1], "utterance 'x' has targets of shape (2,); a regularised book needs a class for each of its 3 frames"),
        ([0, 1, 6], "utterance 'x' has a target outside of the classes 0 to 5"),
    ],
)
def test_targets_of_a_regularised_book(tmp_path, targets, sentence):
    writer = BookWriter(tmp_path / "book", manifest(regularisation=0.1))
    with writer, pytest.raises(DataError, match=says(sentence)):
        writer.add("x", BAD, targets=targets)


def test_uncertainty_that_is_missing_or_does_not_fit(tmp_path):
    with BookWriter(tmp_path / "book", manifest(uncertainty=True)) as writer:
        with pytest.raises(ConfigError, match="comes without uncertainty, but the manifest says otherwise"):
            writer.add("x", BAD)
        with pytest.raises(DataError, match=r"aleatoric uncertainty of shape \(2,\); expected 3 finite numbers"):
            writer.add("x", BAD, uncertainty=Uncertainty(torch.zeros(2), torch.zeros(2)))


def test_answers_that_do_not_fit_the_questions(tmp_path):
    with pytest.raises(DataError, match="the teachers gave no answer for utterance 'b'; nothing can be read"):
        write_book(tmp_path / "book", manifest(), ["a", "b"], lambda todo: [TeacherOutput("a", BAD)])
    assert Book.open(tmp_path / "book").utterances == ("a",)
    with pytest.raises(DataError, match="utterance 'c' with seed 0 was not asked for"):
        write_book(tmp_path / "book", manifest(), ["a", "b"], lambda todo: [TeacherOutput("c", BAD)])
    with pytest.raises(DataError, match="utterance 'a' is there twice; every id must be unique"):
        write_book(tmp_path / "book", manifest(), ["a", "a"], lambda todo: [])
    with pytest.raises(ConfigError, match="shard 3 of 3; expected a number from 0 to 2"):
        BookWriter(tmp_path / "book", manifest(), shard=3, shards=3)


# ---- a system that refuses


def test_a_full_disk(tmp_path, monkeypatch):
    directory = tmp_path / "book"

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    expected = (
        f"{directory}/00000/000001.safetensors: there is no space left (No space left on device); utterances 'b', 'c' "
        "are not written; make room; what was written before is kept, and running again carries on"
    )
    with pytest.raises(DataError, match=says(expected)), BookWriter(directory, manifest()) as writer:
        writer.add("a", BAD)
        writer.flush()
        writer.add("b", BAD)
        writer.add("c", BAD)
        monkeypatch.setattr(segments.os, "fsync", full)
        try:
            writer.flush()
        finally:
            assert "a" in writer and "b" not in writer and "c" not in writer
    monkeypatch.undo()
    assert not list(directory.rglob(".tmp-*")) and verify(directory) == []
    assert Book.open(directory).utterances == ("a",)
    with BookWriter(directory, manifest()) as writer:
        assert writer.todo("abc") == [("b", 0), ("c", 0)]


def test_a_limit_that_the_system_sets_on_files(tmp_path):
    # A real refusal in the middle of a segment, in a process of its own.
    def limited() -> None:
        writer = BookWriter(tmp_path / "book", manifest()).__enter__()
        writer.add("a", torch.full((5000, CLASSES), 1 / CLASSES).log())
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
        try:
            writer.flush()
        except DataError as error:
            (tmp_path / "said").write_text(str(error))

    process = multiprocessing.get_context("fork").Process(target=limited)
    process.start()
    process.join(60)
    expected = (
        "*000000.safetensors: there is no space left (File too large); utterance 'a' is not written; make room; *"
    )
    assert re.match(says(expected), (tmp_path / "said").read_text())
    assert not list((tmp_path / "book").rglob("*.safetensors")) and verify(tmp_path / "book") == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_directory_that_must_not_be_written(tmp_path, monkeypatch, number):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    expected = (
        f"{tmp_path / 'book'}: must not be written ({os.strerror(number)}); name a directory that may be written; *"
    )
    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(DataError, match=says(expected)):
        BookWriter(tmp_path / "book", manifest()).__enter__()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_directory(tmp_path):
    (tmp_path / "book").mkdir(mode=0o555)
    with pytest.raises(DataError, match="must not be written"):
        BookWriter(tmp_path / "book", manifest()).__enter__()


def test_a_file_where_the_book_should_be(tmp_path):
    (tmp_path / "book").write_text("")
    with pytest.raises(DataError, match="book: cannot be written"):
        BookWriter(tmp_path / "book", manifest()).__enter__()


# ---- a book that is damaged


def flip(path: Path, where: float) -> None:
    """Flip a bit of the byte at a share of the file."""
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 16
    path.write_bytes(content)


def segment(directory: Path, number: int = 1, suffix: str = "safetensors") -> Path:
    return directory / "00000" / f"{number:06d}.{suffix}"


def readable(directory: Path) -> set[str]:
    """The utterances that can be read, each in a book opened anew; the rest raise DataError."""
    found = set()
    for utterance in PAGES:
        try:
            Book.open(directory).read(utterance)
        except DataError:
            continue
        found.add(utterance)
    return found


@pytest.mark.parametrize("form", FORMS)
def test_any_byte_of_a_segment(tmp_path, form):
    # Wherever a bit flips, no entry is read that is not as it was written, and verify names what cannot be read.
    directory = tmp_path / "book"
    book = write(directory, PAGES, form=FORMS[form], segment_bytes=250)
    entries = {utterance: book.read(utterance).log_probs() for utterance in PAGES}
    names = {entry.id for entry in book.segments[1].entries}
    whole = segment(directory).read_bytes()
    for position in range(0, len(whole), 83):
        flip(segment(directory), position / len(whole))
        faults = verify(directory)
        assert faults and {fault.path for fault in faults} == {segment(directory)}
        lost = set(PAGES) - readable(directory)
        named = {utterance for fault in faults for utterance in fault.utterances}
        assert lost <= named <= names
        for utterance in set(PAGES) - lost:
            assert Book.open(directory).read(utterance).log_probs().equal(entries[utterance])
        segment(directory).write_bytes(whole)
    assert verify(directory) == []


def test_a_corrupted_byte_names_the_utterance(tmp_path):
    directory = tmp_path / "book"
    write(directory, PAGES)
    flip(segment(directory), 0.999)
    (fault,) = verify(directory)
    (name,) = fault.utterances
    expected = (
        f"{segment(directory)}: utterance {name!r} is damaged (its checksum is not that with which it was written); "
        "delete 000001.safetensors and its index, and to make what is missing run ./run.sh --stage book"
    )
    assert fault.sentence == expected
    with pytest.raises(DataError, match=says(expected)):
        Book.open(directory).read(name)


@pytest.mark.parametrize("number", [0, 1])
def test_a_segment_that_was_deleted_with_its_index(tmp_path, number):
    directory = write(tmp_path / "book", PAGES).directory
    for suffix in ("safetensors", "jsonl"):
        segment(directory, number, suffix).unlink()
    assert [fault.path for fault in verify(directory)] == [segment(directory, number)]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
@pytest.mark.parametrize("index", [True, False])
def test_a_truncated_segment(tmp_path, share, index):
    directory = tmp_path / "book"
    book = write(directory, PAGES)
    names = tuple(entry.id for entry in book.segments[1].entries)
    book.read(names[0])  # open already: a map past the end of its file would kill the process
    whole = segment(directory).read_bytes()
    segment(directory).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=f"it has .* bytes and was written with {len(whole)}"):
        book.read(names[0])
    if not index:
        segment(directory, suffix="jsonl").unlink()
    faults = verify(directory)
    assert [fault.path for fault in faults] == [segment(directory)]
    if index or share > 0.9:  # else its header, which names them, is gone as well
        assert faults[0].utterances == names
    with pytest.raises(DataError, match=re.escape(str(segment(directory))) + " is damaged: "):
        Book.open(directory).read(names[0])
    with pytest.raises(DataError, match="is damaged"):
        merge(tmp_path / "joined", [directory, write(tmp_path / "b", {"z": BAD}).directory])
    assert not (tmp_path / "joined").exists() and not list(tmp_path.glob(".tmp-*"))
    with pytest.raises(DataError, match="is damaged"):  # nor is it carried on in silence
        BookWriter(directory, manifest()).__enter__()
    # What the sentence says to do helps.
    segment(directory).unlink()
    segment(directory, suffix="jsonl").unlink(missing_ok=True)
    (gap,) = verify(directory)
    assert gap.sentence.startswith(f"{segment(directory)} and its index are missing; to make what is missing")
    write(directory, PAGES)
    assert verify(directory) == [] and readable(directory) == set(PAGES)


def test_a_segment_that_is_missing(tmp_path):
    directory = tmp_path / "book"
    book = write(directory, PAGES)
    names = tuple(entry.id for entry in book.segments[1].entries)
    segment(directory).unlink()
    (fault,) = verify(directory)
    assert fault.utterances == names and "it is missing or cannot be opened; it holds utterance" in fault.sentence
    with pytest.raises(DataError, match="it is missing or cannot be opened"):
        Book.open(directory).read(names[0])


def damage_index(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return apply


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda lines: [lines[0], lines[1][:-9] + b"\n", *lines[2:]], ", line 2: damaged, expected a JSON object; *"),
        (lambda lines: [lines[0], b"\xff\xfe\n", *lines[2:]], ", line 2: damaged, expected a JSON object; *"),
        (lambda lines: [*lines[:-1], b"[]\n"], ", line *: damaged, expected a JSON object; *"),
        (lambda lines: lines[:-1], ", line *: breaks off, expected a seal as its last line; *"),
        (lambda lines: [], ", line 0: breaks off, expected a seal as its last line; *"),
        (lambda lines: [lines[0].replace(b": ", b":  ", 1), *lines[1:]], ": is not as it was written (its seal *"),
        (lambda lines: [lines[0], *lines[2:]], ": is not as it was written (its seal is broken); *"),
        (
            lambda lines: [lines[0], lines[1].replace(b'"start": 0', b'"start": 1'), *lines[2:]],
            ": is not as it was written (its seal is broken); delete *: it is made again from its segment",
        ),
    ],
)
def test_a_damaged_index(tmp_path, change, sentence):
    directory = tmp_path / "book"
    names = tuple(entry.id for entry in write(directory, PAGES).segments[1].entries)
    index = segment(directory, suffix="jsonl")
    damage_index(change)(index)
    with pytest.raises(DataError, match=says(f"{index}{sentence}")):
        Book.open(directory)
    assert [fault.path for fault in verify(directory)] == [index]
    # What the sentence says to do helps: the segment knows its entries.
    index.unlink()
    assert verify(directory) == [] and set(names) <= readable(directory)
    with BookWriter(directory, manifest()) as writer:
        assert writer.todo(PAGES) == []
    assert index.is_file() and verify(directory) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text[:50], "manifest.json is damaged *; restore it from a copy, or make the book again"),
        (
            lambda text: text.replace("tok1", "tok2"),
            "manifest.json has the hash * and its content *: it was changed by *",
        ),
        (
            lambda text: text.replace('"version": 1', '"version": 9'),
            "manifest.json is of version 9 and this seqkd reads version 1; update seqkd",
        ),
        (lambda text: text.replace('"dense"', '"sparse"'), "manifest.json is damaged (there is no form 'sparse' of *"),
        (lambda text: "[]", "manifest.json is damaged *"),
    ],
)
def test_a_damaged_manifest(tmp_path, change, sentence):
    directory = tmp_path / "book"
    write(directory, PAGES)
    path = directory / "manifest.json"
    path.write_text(change(path.read_text()))
    for use in (Book.open, verify):
        with pytest.raises(DataError, match=says(f"{directory}/{sentence}")):
            use(directory)


def test_no_book_at_all(tmp_path):
    expected = f"{tmp_path} is no book: it has no manifest.json; name the directory that a book was written to"
    for use in (Book.open, verify):
        with pytest.raises(DataError, match=says(expected)):
            use(tmp_path)


def test_a_segment_of_another_book(tmp_path):
    write(tmp_path / "a", PAGES)
    write(tmp_path / "b", posteriors(10, seed=1), units="tok2")
    for suffix in ("jsonl", "safetensors"):
        segment(tmp_path / "b", 0, suffix).replace(segment(tmp_path / "a", 7, suffix))
    expected = r"000007.safetensors belongs to a book with the manifest \w+ and .*a has \w+; move the segment back"
    for use in (Book.open, lambda d: BookWriter(d, manifest()).__enter__()):
        with pytest.raises(DataError, match=expected):
            use(tmp_path / "a")
    assert any(re.search(expected, fault.sentence) for fault in verify(tmp_path / "a"))


def test_two_segments_that_disagree(tmp_path):
    directory = tmp_path / "book"
    write(directory, PAGES)
    write(tmp_path / "other", posteriors(10, seed=1))
    for suffix in ("jsonl", "safetensors"):
        target = segment(directory, 99, suffix)
        target.write_bytes(segment(tmp_path / "other", 0, suffix).read_bytes().replace(b"000000.s", b"000099.s"))
    path = segment(directory, 99, "jsonl")
    lines = path.read_text().splitlines(keepends=True)
    seal = segments._seal("".join(lines[:-1]).encode())
    path.write_text("".join(lines[:-1]) + json.dumps({"seal": seal}) + "\n")
    with pytest.raises(DataError, match=r"stands in .*000000.safetensors and in .*000099.safetensors, and they differ"):
        Book.open(directory)
