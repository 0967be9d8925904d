"""``seqkd book``: what is in a book, whether it is whole, several made one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seqkd.cli.book import main
from seqkd.errors import ConfigError, DataError
from seqkd.knowledge import Book, BookWriter, Dense, Sampled, TeacherOutput, TopK, info, merge, verify, write_book
from tests.knowledge.books import FORMS, manifest, posteriors, write

PAGES = posteriors(20)
HALVES = [dict(list(PAGES.items())[:12]), dict(list(PAGES.items())[12:])]


def size(directory: Path, pattern: str = "*") -> int:
    return sum(path.stat().st_size for path in directory.rglob(pattern) if path.is_file())


# ---- info


@pytest.mark.parametrize("form", FORMS)
def test_info_reports_bits_and_mass(tmp_path, form):
    book = write(tmp_path / "book", PAGES, form=FORMS[form], segment_bytes=10**6)
    found = info(tmp_path / "book")
    frames = sum(len(entry) for entry in PAGES.values())
    assert (found.utterances, found.entries, found.frames, found.segments) == (20, 20, frames, 1)
    assert found.bytes == size(tmp_path / "book", "*.safetensors")
    assert found.bits_per_frame == pytest.approx(8 * found.bytes / frames)
    kept = 0.0
    for utterance, entry in PAGES.items():
        stored = book.read(utterance).sparse()
        filled = stored.classes >= 0
        kept += (entry.exp().gather(-1, stored.classes.clamp(min=0)) * filled).sum().item()
    assert found.retained_mass == pytest.approx(kept / frames, abs=1e-6)


def test_bits_of_the_fields_alone(tmp_path):
    # Beside the header, a frame takes what the form says: 16 C, or 32 k + 32 with classes of 16 bits.
    frames, classes = 20000, 300
    entry = torch.zeros(frames, classes).log_softmax(-1)
    for form, bits in ((Dense(), 16 * classes), (TopK(4), 32 * 4 + 32)):
        with BookWriter(tmp_path / form.name, manifest(classes=classes, form=form)) as writer:
            writer.add("a", entry)
        assert info(tmp_path / form.name).bits_per_frame == pytest.approx(bits, abs=1)


def test_an_empty_book_is_a_book(tmp_path):
    with BookWriter(tmp_path / "book", manifest()):
        pass
    found = info(tmp_path / "book")
    assert (found.entries, found.frames, found.bits_per_frame) == (0, 0, 0) and verify(tmp_path / "book") == []
    with pytest.raises(DataError, match="has no utterance 'a'; with the data"):
        Book.open(tmp_path / "book").read("a")


def test_the_command_prints_it(tmp_path, capsys):
    write(tmp_path / "book", PAGES, form=TopK(3))
    assert main(["info", str(tmp_path / "book")]) == 0
    out = capsys.readouterr().out
    for line in (
        "teachers        large (aa11)",
        "classes         6, blank 0",
        "form            top-k, k 3",
        "utterances      20 (20 entries)",
    ):
        assert line in out.splitlines()
    assert main(["info", str(tmp_path / "book"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["content"] == info(tmp_path / "book").content and found["manifest"]["form"] == {
        "name": "top-k",
        "k": 3,
    }


def test_help_imports_nothing_heavy():
    code = "import sys, seqkd.cli.book as b\ntry: b.main(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "verify" in out and out.endswith("False\n")


# ---- verify


def test_the_command_verifies(tmp_path, capsys):
    directory = tmp_path / "book"
    names = [entry.id for entry in write(directory, PAGES, segment_bytes=900).segments[0].entries]
    assert main(["verify", str(directory)]) == 0
    assert capsys.readouterr().out == (
        f"{directory} is whole: 20 entries in {len(Book.open(directory).segments)} segments, "
        f"content {info(directory).content}\n"
    )
    path = directory / "00000" / "000000.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match=f"book is damaged: {len(names)} utterances in 1 files; they are named above"):
        main(["verify", str(directory), "--all"])
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith(f"{path} is damaged: it has") and [line.strip() for line in out[1:]] == names
    with pytest.raises(DataError):
        main(["verify", str(directory)])
    shown = capsys.readouterr().out.splitlines()[1:]
    assert len(shown) == min(len(names), 11) and (
        len(names) <= 10 or shown[-1] == f"    and {len(names) - 10} more (--all names them)"
    )


# ---- merge


@pytest.mark.parametrize("form", FORMS)
def test_joined_books_are_one_and_nothing_is_copied(tmp_path, form):
    for name, entries in (("a", HALVES[0]), ("b", HALVES[1]), ("whole", PAGES)):
        write(tmp_path / name, entries, form=FORMS[form])
    assert main(["merge", *(str(tmp_path / name) for name in ("joined", "a", "b"))]) == 0
    joined = Book.open(tmp_path / "joined")
    assert info(tmp_path / "joined").content == info(tmp_path / "whole").content
    assert joined.utterances == tuple(sorted(PAGES)) and verify(tmp_path / "joined") == []
    assert not list((tmp_path / "joined").rglob("*.safetensors"))
    assert info(tmp_path / "joined").bytes == size(tmp_path / "a", "*.safetensors") + size(
        tmp_path / "b", "*.safetensors"
    )
    whole = Book.open(tmp_path / "whole")
    for utterance in PAGES:
        assert joined.read(utterance).log_probs().equal(whole.read(utterance).log_probs())


def test_joined_books_may_move_together_and_be_joined_again(tmp_path):
    (tmp_path / "here").mkdir()
    write(tmp_path / "here" / "a", HALVES[0])
    write(tmp_path / "here" / "b", HALVES[1])
    write(tmp_path / "here" / "c", {"more": PAGES["utt000"]})
    merge(tmp_path / "here" / "ab", [tmp_path / "here" / "a", tmp_path / "here" / "b"])
    merge(tmp_path / "here" / "deep" / "abc", [tmp_path / "here" / "ab", tmp_path / "here" / "c"])
    (tmp_path / "here").rename(tmp_path / "there")
    book = Book.open(tmp_path / "there" / "deep" / "abc")
    assert len(book) == 21 and verify(tmp_path / "there" / "deep" / "abc") == []
    assert torch.allclose(book.read("more").probs(), PAGES["utt000"].exp(), atol=1e-3)
    # A part that is gone is found, and named by what it held.
    (tmp_path / "there" / "c").rename(tmp_path / "there" / "gone")
    (fault,) = verify(tmp_path / "there" / "deep" / "abc")
    assert fault.utterances == ("more",)
    with pytest.raises(DataError, match="it is missing or cannot be opened; it holds utterance 'more'"):
        Book.open(tmp_path / "there" / "deep" / "abc").read("more")


def test_more_may_be_written_into_a_joined_book(tmp_path):
    write(tmp_path / "a", HALVES[0])
    write(tmp_path / "b", {"more": PAGES["utt000"]})
    merge(tmp_path / "joined", [tmp_path / "a", tmp_path / "b"])
    write(tmp_path / "joined", PAGES)
    assert len(Book.open(tmp_path / "joined")) == 21 and verify(tmp_path / "joined") == []


def test_books_that_cannot_be_joined(tmp_path):
    write(tmp_path / "a", HALVES[0])
    write(tmp_path / "b", dict(list(PAGES.items())[10:]))
    expected = "the books .*/a and .*/b both have utterances 'utt010', 'utt011'; join books of different utterances"
    with pytest.raises(DataError, match=expected):
        merge(tmp_path / "joined", [tmp_path / "a", tmp_path / "b"])
    with pytest.raises(DataError, match=r"both have utterances 'utt000', 'utt001', 'utt002' and 9 more"):
        merge(tmp_path / "joined", [tmp_path / "a", tmp_path / "a"])
    with pytest.raises(ConfigError, match="there are 1 books to join; name at least two"):
        merge(tmp_path / "joined", [tmp_path / "a"])
    with pytest.raises(ConfigError, match="/b is not empty; name a new directory for the joined book"):
        merge(tmp_path / "b", [tmp_path / "a", tmp_path / "b"])
    with pytest.raises(DataError, match="/none is no book"):
        merge(tmp_path / "joined", [tmp_path / "a", tmp_path / "none"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


# ---- writing with progress


def test_progress_and_resume(tmp_path, capsys):
    asked = []

    def answers(todo):
        asked.append(todo)
        for utterance, seed in todo:
            yield TeacherOutput(utterance, PAGES[utterance], seed)

    directory, settings = tmp_path / "book", manifest(form=Sampled(20))
    assert write_book(directory, settings, HALVES[0], answers) == 12
    assert write_book(directory, settings, PAGES, answers) == 8
    assert write_book(directory, settings, PAGES, answers) == 0
    assert [len(todo) for todo in asked] == [12, 8]  # nobody is asked for nothing
    assert len(Book.open(directory)) == 20
    with BookWriter(tmp_path / "other", settings) as writer:
        for utterance, entry in PAGES.items():
            writer.add(utterance, entry)
    assert info(directory).content == info(tmp_path / "other").content


def test_shards_are_disjoint_and_all(tmp_path):
    parts = []
    for shard in range(3):
        with BookWriter(tmp_path / "book", manifest(seeds=2), shard=shard, shards=3) as writer:
            parts.append(writer.todo(sorted(PAGES, reverse=True)))
    assert sorted(entry for part in parts for entry in part) == [
        (utterance, seed) for utterance in sorted(PAGES) for seed in (0, 1)
    ]
    assert max(map(len, parts)) - min(map(len, parts)) <= 2


def test_a_class_of_any_width_is_read_back(tmp_path):
    entry = (3 * torch.randn(30, 700, generator=torch.Generator().manual_seed(0))).log_softmax(-1)
    for form in (TopK(5), Sampled(300)):
        with BookWriter(tmp_path / form.name, manifest(classes=700, form=form)) as writer:
            writer.add("a", entry)
        found = Book.open(tmp_path / form.name).read("a").sparse()
        best = found.classes.gather(-1, found.probs.argmax(-1, keepdim=True))[:, 0]
        assert (entry.gather(-1, best[:, None])[:, 0] > entry.topk(20).values[:, -1]).all()
