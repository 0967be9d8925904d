"""A book knows of what its entries were made: of which audio or text, and by which rule for frame rates."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from seqkd.errors import ConfigError
from seqkd.knowledge import Book, Manifest, TeacherOutput, info, merge, write_book
from tests.knowledge.books import manifest, posteriors, write

ENTRIES = posteriors(6)
NOW = {name: f"content of {name}" for name in ENTRIES}
CHANGED = NOW | {"utt001": "other", "utt004": "other"}


def written(
    directory: Path, contents: Mapping[str, str] | None, ids: Iterable[str] = tuple(ENTRIES), **changes: object
) -> int:
    def outputs(todo: list[tuple[str, int]]) -> Iterator[TeacherOutput]:
        return (TeacherOutput(name, ENTRIES[name], seed) for name, seed in todo)

    return write_book(directory, manifest(**changes), ids, outputs, contents=contents, segment_bytes=150)


def refusal(directory: Path) -> str:
    return (
        f"the audio or text of utterances 'utt001', 'utt004' has changed since the book {directory} was written; "
        "to make it anew run ./run.sh --stage book"
    )


@pytest.mark.parametrize("killed", [False, True], ids=["", "killed before indices were written"])
def test_entries_of_what_has_changed_are_refused(tmp_path: Path, killed: bool) -> None:
    book = tmp_path / "book"
    assert written(book, NOW) == 6
    if killed:
        for index in book.glob("*/*.jsonl"):
            index.unlink()
    assert written(book, NOW) == 0
    Book.open(book).require(contents=NOW, utterances=ENTRIES)
    for use in (lambda: Book.open(book).require(contents=CHANGED), lambda: written(book, CHANGED)):
        with pytest.raises(ConfigError) as caught:
            use()
        assert str(caught.value) == refusal(book)


def test_utterances_that_are_new_or_gone_change_nothing(tmp_path: Path) -> None:
    book, first = tmp_path / "book", list(ENTRIES)[:4]
    assert written(book, {name: NOW[name] for name in first}, first) == 4
    assert written(book, NOW) == 2
    Book.open(book).require(contents={name: NOW[name] for name in first})


def test_what_is_not_known_is_accepted(tmp_path: Path) -> None:
    """Books of earlier versions stay as they are, to the byte, and can be carried on."""
    book, first = tmp_path / "book", list(ENTRIES)[:4]
    assert written(book, None, first) == 4
    assert not any("content" in path.read_text() for path in book.glob("*/*.jsonl"))
    assert not any(b'"content"' in path.read_bytes() for path in book.glob("*/*.safetensors"))
    assert written(book, CHANGED) == 2
    Book.open(book).require(contents=CHANGED)
    with pytest.raises(ConfigError, match=r"text of utterance 'utt004' has changed"):  # utt001 is of the first ones
        Book.open(book).require(contents=NOW)


def test_joined_books_know_it_too_and_the_hash_of_the_content_is_as_it_was(tmp_path: Path) -> None:
    ids = list(ENTRIES)
    for name, half in (("a", ids[:3]), ("b", ids[3:])):
        written(tmp_path / name, NOW, half)
    joined = merge(tmp_path / "joined", [tmp_path / "a", tmp_path / "b"])
    with pytest.raises(ConfigError) as caught:
        Book.open(tmp_path / "joined").require(contents=CHANGED)
    assert str(caught.value) == refusal(tmp_path / "joined")
    written(tmp_path / "without", None)
    assert info(tmp_path / "without").content == joined.content


def test_the_rule_for_frame_rates(tmp_path: Path) -> None:
    book = tmp_path / "book"
    assert written(book, NOW, rate_rule="spike") == 6
    opened = Book.open(book)
    assert opened.manifest.rate_rule == "spike"
    assert opened.require(rate_rule="spike").require(rate_rule=None) is opened
    with pytest.raises(ConfigError) as caught:
        opened.require(rate_rule="mean")
    assert str(caught.value) == (
        f"the book {book} has rule for frame rates spike and the student mean; set teacher.rate_rule to what the book "
        "was made with"
    )
    with pytest.raises(ConfigError, match=r"has rule for frame rates spike and what is to be written mean"):
        written(book, NOW, rate_rule="mean")


def test_a_book_that_does_not_state_the_rule_is_carried_on(tmp_path: Path) -> None:
    book, first = tmp_path / "book", list(ENTRIES)[:4]
    plain = manifest()
    assert "rate_rule" not in plain.to_json()
    assert Manifest.from_json(plain.to_json()) == plain
    assert plain.hash == "e1852db7352e0294"  # of an earlier version
    assert written(book, NOW, first) == 4
    before = (book / "manifest.json").read_bytes()
    assert written(book, NOW, rate_rule="mean") == 2
    assert (book / "manifest.json").read_bytes() == before
    assert json.loads(before)["hash"] == plain.hash
    Book.open(book).require(rate_rule="spike", utterances=ENTRIES)


def test_books_of_which_one_does_not_state_the_rule_are_not_joined(tmp_path: Path) -> None:
    ids = list(ENTRIES)
    for name, half, rule in (("a", ids[:3], None), ("b", ids[3:], "spike")):
        write(tmp_path / name, {one: ENTRIES[one] for one in half}, rate_rule=rule)
    with pytest.raises(ConfigError, match=r"a has rule for frame rates none and the book \S+b spike"):
        merge(tmp_path / "joined", [tmp_path / "a", tmp_path / "b"])
    assert not (tmp_path / "joined").exists()
