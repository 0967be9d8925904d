"""Books written by several real processes, killed and carried on. Forked, for an interpreter takes seconds to start."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tqdm import tqdm

from seqkd.errors import SeqkdError
from seqkd.knowledge import Book, BookWriter, Sampled, TeacherOutput, info, segments, verify, write_book
from tests.knowledge.books import FORMS, manifest, posteriors

FORK = multiprocessing.get_context("fork")
PAGES = posteriors(60)
SMALL = 100  # bytes a segment: a few entries


def work(directory: Path, shard: int, shards: int, form: str, log: Path, pause: float) -> None:
    """A process's share of the book; every entry that the teacher is asked for leaves a line in ``log``."""
    tqdm.set_lock(threading.RLock())  # the default one is shared by forked processes, and dies with one of them

    def answers(todo: list[tuple[str, int]]) -> Iterator[TeacherOutput]:
        for utterance, seed in reversed(todo):  # in no particular order
            time.sleep(pause)
            with log.open("a") as file:
                file.write(utterance + "\n")
            yield TeacherOutput(utterance, PAGES[utterance], seed)

    write_book(directory, manifest(form=FORMS[form]), PAGES, answers, shard=shard, shards=shards, segment_bytes=SMALL)


def start(directory: Path, shards: int, form: str, log: Path, pause: float = 0.0) -> list:
    processes = [
        FORK.Process(target=work, args=(directory, shard, shards, form, log, pause)) for shard in range(shards)
    ]
    for process in processes:
        process.start()
    return processes


def wait_for(log: Path, entries: int) -> None:
    """Wait until teachers have been asked for so many entries."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (log.exists() and log.read_text().count("\n") >= entries):
        time.sleep(0.001)


def finish(processes: list) -> None:
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


@pytest.mark.parametrize("form", FORMS)
def test_one_and_three_processes_write_the_same(tmp_path, form):
    found = []
    for shards in (1, 3):
        directory = tmp_path / str(shards)
        finish(start(directory, shards, form, tmp_path / f"log{shards}"))
        assert sorted((tmp_path / f"log{shards}").read_text().split()) == sorted(PAGES)
        assert verify(directory) == [] and len(Book.open(directory)) == len(PAGES)
        found.append(info(directory))
    one, three = found
    assert one.content == three.content and one.frames == three.frames
    assert one.retained_mass == pytest.approx(three.retained_mass, abs=1e-12)
    assert len(list((tmp_path / "3").glob("0*"))) == 3


def test_killed_at_ten_random_times_nothing_is_lost_or_repeated(tmp_path):
    random_times = random.Random(5)
    finish(start(tmp_path / "whole", 3, "sampled", tmp_path / "log"))
    expected = info(tmp_path / "whole").content
    unfinished, killed = [], 0
    for trial in range(10):
        directory, log = tmp_path / str(trial), tmp_path / f"log{trial}"
        processes = start(directory, 3, "sampled", log, pause=0.01)
        # A time told by the work that is done, since the machine may be busy, and a moment more.
        wait_for(log, random_times.randint(1, 45))
        time.sleep(random_times.uniform(0, 0.02))
        for process in [p for p in processes if p.is_alive()][: 1 + trial % 3]:  # one of them, two, or all
            os.kill(process.pid, signal.SIGKILL)
        for process in processes:
            process.join(60)
        killed += any(process.exitcode == -signal.SIGKILL for process in processes)
        there = (directory / "manifest.json").is_file()
        finished = {entry.id for entry in Book.open(directory).entries()} if there else set()
        assert not there or verify(directory) == []
        unfinished.append(len(PAGES) - len(finished))
        log.unlink(missing_ok=True)
        finish(start(directory, 1 + trial % 2, "sampled", log))  # carried on by another number of processes
        repeated = log.read_text().split() if log.exists() else []
        assert sorted(repeated) == sorted(set(PAGES) - finished)
        assert info(directory).content == expected and verify(directory) == []
        assert not list(directory.glob(f"0000[0-{trial % 2}]/.tmp-*"))  # what a killed writer of these shards left
    assert killed >= 8 and len({n for n in unfinished if 0 < n < len(PAGES)}) >= 4  # in the middle of it


@pytest.mark.parametrize("moment", ["before the segment is whole", "before it is renamed", "before its index"])
def test_killed_at_the_worst_moments(tmp_path, moment):
    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def doomed() -> None:
        if moment == "before its index":
            segments.write_index = die
        else:
            segments.os.fsync = die if moment == "before it is renamed" else os.fsync
            if moment == "before the segment is whole":
                segments.atomic_path = lambda path: Torn(path)
        work(directory, 0, 1, "dense", tmp_path / "log", 0.0)

    class Torn:
        """A file of which only the first half reaches the disk."""

        def __init__(self, path: Path) -> None:
            self.path = path.parent / ".tmp-torn.safetensors"

        def __enter__(self) -> Torn:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def open(self, _: str) -> Torn:
            return self

        def write(self, content: bytes) -> None:
            self.path.write_bytes(content[: len(content) // 2])
            die()

    directory = tmp_path / "book"
    process = FORK.Process(target=doomed)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    committed = len(Book.open(directory))
    assert (committed > 0) == (moment == "before its index")
    asked = tmp_path / "log"
    asked.unlink()
    finish(start(directory, 1, "dense", asked))
    assert len(asked.read_text().split()) == len(PAGES) - committed
    assert verify(directory) == [] and not list(directory.rglob(".tmp-*"))
    assert len(list(directory.glob("*/*.jsonl"))) == len(list(directory.glob("*/*.safetensors")))
    finish(start(tmp_path / "whole", 1, "dense", asked))
    assert info(directory).content == info(tmp_path / "whole").content


def test_a_shard_has_one_writer(tmp_path):
    with BookWriter(tmp_path / "book", manifest()):
        with pytest.raises(SeqkdError, match="another process is at work on shard 0 of the book"):
            BookWriter(tmp_path / "book", manifest()).__enter__()
        with BookWriter(tmp_path / "book", manifest(), shard=1, shards=2):
            pass
    with BookWriter(tmp_path / "book", manifest()):  # let go of again
        pass


def test_ctrl_c_keeps_what_was_added(tmp_path):
    with pytest.raises(KeyboardInterrupt), BookWriter(tmp_path / "book", manifest()) as writer:
        writer.add("utt000", PAGES["utt000"])
        raise KeyboardInterrupt
    assert Book.open(tmp_path / "book").utterances == ("utt000",)


def test_a_segment_is_written_after_its_time(tmp_path):
    with BookWriter(tmp_path / "book", manifest(), segment_seconds=0.05) as writer:
        writer.add("utt000", PAGES["utt000"])
        assert len(Book.open(tmp_path / "book")) == 0
        time.sleep(0.06)
        writer.add("utt001", PAGES["utt001"])
        assert len(Book.open(tmp_path / "book")) == 2


def test_the_order_and_the_segments_do_not_matter(tmp_path):
    contents = set()
    for number, size in enumerate((1, 1000, 10**7)):
        order = sorted(PAGES)
        random.Random(number).shuffle(order)
        with BookWriter(tmp_path / str(number), manifest(form=Sampled(9)), segment_bytes=size) as writer:
            for utterance in order:
                writer.add(utterance, PAGES[utterance])
        contents.add(info(tmp_path / str(number)).content)
    assert len(contents) == 1
    changed = {**PAGES, "utt003": PAGES["utt003"].flip(-1)}
    with BookWriter(tmp_path / "other", manifest(form=Sampled(9))) as writer:
        for utterance, log_probs in changed.items():
            writer.add(utterance, log_probs)
    assert info(tmp_path / "other").content not in contents
