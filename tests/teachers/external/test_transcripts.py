from __future__ import annotations

import json
import math
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from tqdm import tqdm

from seqkd.data.tokens import train_tokenizer
from seqkd.errors import ConfigError, DataError, SeqkdError
from seqkd.files import lock
from seqkd.losses import ctc_loss
from seqkd.losses.nbest import nbest_ctc_loss
from seqkd.teachers.external.agreement import agreement
from seqkd.teachers.external.audio import Speech, TeacherTranscript
from seqkd.teachers.external.transcripts import TeacherTranscripts, write_transcripts

IDS = [f"utt{n:03d}" for n in range(20)]


@dataclass
class Reciter:
    """Says of each utterance what follows from its id alone."""

    name: str = "reciter"
    hash: str = "aaaa"
    sample_rate: int | None = None
    pause: float = 0.0
    asked: list[str] = field(default_factory=list)

    def transcribe(self, speech: list[Speech], n: int) -> list[list[TeacherTranscript]]:
        self.asked += [one.id for one in speech]
        time.sleep(self.pause)
        return [self.recite(one.id)[:n] for one in speech]

    @staticmethod
    def recite(utterance: str) -> list[TeacherTranscript]:
        choose = random.Random(utterance)
        scores = sorted((-10 * choose.random() for _ in range(4)), reverse=True)
        return [TeacherTranscript(" ".join(choose.choices(["ab", "ba", "cab"], k=3)), score) for score in scores]


def hear(ids: list[str]) -> Iterator[Speech]:
    return (Speech(name, torch.zeros(0), None) for name in ids)


def written(directory: Path, teacher: Reciter | None = None, ids: list[str] = IDS, **options: object) -> int:
    options = {"n": 3, "batch": 4} | options
    return write_transcripts(directory, teacher or Reciter(), ids, hear, **options)


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.glob("*.json*"))}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert written(tmp_path / "t", settings={"beam": 8}) == 20
    found = TeacherTranscripts.open(tmp_path / "t").require(teacher="aaaa", utterances=IDS)
    assert (found.teacher, found.hash, found.n, found.settings) == ("reciter", "aaaa", 3, {"beam": 8})
    for name in IDS:
        assert found.of(name) == Reciter.recite(name)[:3]  # floats to the last bit
        assert found.agreement(name) == agreement([one.text for one in Reciter.recite(name)[:3]])


def test_keep_what_the_teacher_is_sure_of(tmp_path: Path) -> None:
    written(tmp_path / "t")
    found = TeacherTranscripts.open(tmp_path / "t")
    assert found.keep(0.0) == IDS
    threshold = sorted(found.agreement(name) for name in IDS)[8]
    assert found.keep(threshold) == [name for name in IDS if found.agreement(name) >= threshold]
    assert 0 < len(found.keep(threshold)) < 20
    with pytest.raises(ConfigError) as caught:
        found.keep(1.5)
    assert str(caught.value) == "the least agreement is 1.5; expected a number from 0 to 1"


def test_nothing_is_done_twice(tmp_path: Path) -> None:
    written(tmp_path / "t", ids=IDS[:7])
    teacher = Reciter()
    assert written(tmp_path / "t", teacher) == 13
    assert teacher.asked == IDS[7:]
    assert written(tmp_path / "t", again := Reciter()) == 0
    assert again.asked == []


def test_the_order_of_the_ids_does_not_matter(tmp_path: Path) -> None:
    written(tmp_path / "one")
    written(tmp_path / "other", ids=IDS[::-1])
    assert content(tmp_path / "one") == content(tmp_path / "other")


def test_any_number_of_processes_write_the_same(tmp_path: Path) -> None:
    written(tmp_path / "one")
    for shard in (2, 0, 1):
        written(tmp_path / "three", shard=shard, shards=3)
    assert TeacherTranscripts.open(tmp_path / "three").entries == TeacherTranscripts.open(tmp_path / "one").entries
    lines = [path.read_text().splitlines() for path in sorted((tmp_path / "three").glob("*.jsonl"))]
    assert [len(one) for one in lines] == [7, 7, 6]
    assert sorted(line for one in lines for line in one) == (tmp_path / "one" / "00000.jsonl").read_text().splitlines()
    assert written(tmp_path / "three", shards=1) == 0  # another number carries on


def test_a_file_that_breaks_off_anywhere_is_completed(tmp_path: Path) -> None:
    written(tmp_path / "whole", ids=IDS[:4])
    expected = content(tmp_path / "whole")
    size = len(expected["00000.jsonl"])
    for end in [*range(0, size, 37), size - 1]:
        directory = tmp_path / f"cut{end}"
        directory.mkdir()
        (directory / "manifest.json").write_bytes(expected["manifest.json"])
        (directory / "00000.jsonl").write_bytes(expected["00000.jsonl"][:end])
        whole_lines = expected["00000.jsonl"][:end].count(b"\n")
        assert (
            len(TeacherTranscripts.open(directory).entries) == whole_lines
        )  # the line that breaks off was never written
        assert written(directory, ids=IDS[:4]) == 4 - whole_lines
        assert content(directory) == expected


def written_by_a_child(directory: Path) -> None:
    tqdm.set_lock(threading.RLock())  # the bars' lock is shared with this process, and must not die with the child
    written(directory, Reciter(pause=0.03), batch=1)


def test_killed_at_any_time_and_carried_on(tmp_path: Path) -> None:
    written(tmp_path / "whole")
    context = multiprocessing.get_context("fork")
    path = tmp_path / "killed" / "00000.jsonl"
    for runs in range(6):
        process = context.Process(target=written_by_a_child, args=(tmp_path / "killed",))
        process.start()
        while process.is_alive() and not (path.is_file() and path.read_bytes().count(b"\n") > runs):
            time.sleep(0.005)
        time.sleep(0.007 * runs)  # somewhere in the next line
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL  # and not of itself
    before = len(TeacherTranscripts.open(tmp_path / "killed").entries)
    assert 6 <= before < 20
    assert written(tmp_path / "killed") == 20 - before
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


def test_one_process_at_a_time_has_a_shard(tmp_path: Path) -> None:
    with (
        lock(tmp_path / "t" / ".lock-00000", "it"),
        pytest.raises(SeqkdError) as caught,
    ):
        written(tmp_path / "t")
    assert str(caught.value) == (
        f"another process is at work on shard 0 of the transcripts {tmp_path}/t; wait for it or stop it"
    )
    assert written(tmp_path / "t") == 20


# ---- what the student reads


STUDENT = train_tokenizer(["ab ba cab"], type="char", vocab_size=0)


@dataclass
class Says(Reciter):
    """Says what it was given."""

    texts: dict[str, list[tuple[str, float]]] = field(default_factory=dict)

    def transcribe(self, speech: list[Speech], n: int) -> list[list[TeacherTranscript]]:
        return [[TeacherTranscript(*pair) for pair in self.texts[one.id]] for one in speech]


def test_hypotheses_become_units_of_the_student(tmp_path: Path) -> None:
    said = {
        "a": [("AB, ba.", math.log(0.4)), ("ab cab", math.log(0.3)), ("ab ba", math.log(0.2))],
        "b": [("ab 4", -1.0), ("...", -2.0), ("cab", -3.0)],
        "c": [("xyz", -1.0)],
    }
    written(tmp_path / "t", Says(texts=said), ids=["a", "b", "c"])
    batch = TeacherTranscripts.open(tmp_path / "t").collate(["b", "a", "c"], STUDENT)
    decoded = [
        [STUDENT.decode(row[:length].tolist()) for row, length in zip(rows, lengths, strict=True) if length]
        for rows, lengths in zip(batch.hypotheses, batch.lengths, strict=True)
    ]
    assert decoded == [["cab"], ["ab ba", "ab cab"], []]  # best first, the same spelling once
    assert batch.scores[0].tolist() == [-3.0, -math.inf]
    assert batch.scores[1].exp().tolist() == pytest.approx([0.6, 0.3])
    assert batch.scores[2].tolist() == [-math.inf] * 2
    assert batch.left_out == 3  # "ab 4", "..." and "xyz"


def test_the_loss_reads_them(tmp_path: Path) -> None:
    said = {"a": [("ab", math.log(0.75)), ("ba", math.log(0.25))], "b": [("cab", 0.0)]}
    written(tmp_path / "t", Says(texts=said), ids=["a", "b"])
    batch = TeacherTranscripts.open(tmp_path / "t").collate(["a", "b"], STUDENT)
    logits = torch.randn(2, 12, len(STUDENT), generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([12, 10])
    loss = nbest_ctc_loss(
        logits,
        batch.hypotheses,
        batch.lengths,
        batch.scores,
        torch.zeros(2, 0, dtype=torch.long),
        lengths,
        torch.zeros(2, dtype=torch.long),
        kd_weight=1.0,
        ctc_weight=0.0,
        reduction="none",
    )

    def alone(b: int, text: str) -> float:
        units = torch.tensor([STUDENT.encode(text)])
        return float(
            ctc_loss(logits[b : b + 1], units, lengths[b : b + 1], torch.tensor([units.shape[1]]), reduction="sum")
        )

    expected = [0.75 * alone(0, "ab") + 0.25 * alone(0, "ba"), alone(1, "cab")]
    assert loss.total.tolist() == pytest.approx(expected, rel=1e-4)


# ---- bad input


def test_another_teacher_is_named(tmp_path: Path) -> None:
    written(tmp_path / "t")
    with pytest.raises(ConfigError) as caught:
        TeacherTranscripts.open(tmp_path / "t").require(teacher="bbbb")
    assert str(caught.value) == (
        f"{tmp_path}/t has transcripts of reciter (aaaa) and the teacher is bbbb; make them again, or name the teacher "
        "that wrote them"
    )


def test_missing_utterances(tmp_path: Path) -> None:
    written(tmp_path / "t", ids=IDS[:5])
    with pytest.raises(DataError) as caught:
        TeacherTranscripts.open(tmp_path / "t").require(utterances=IDS)
    assert str(caught.value) == (
        f"{tmp_path}/t has no transcripts of 15 utterances, such as 'utt005'; to make what is missing "
        "run ./run.sh --stage book"
    )
    with pytest.raises(DataError):
        TeacherTranscripts.open(tmp_path / "t").of("utt010")


@pytest.mark.parametrize(
    ("teacher", "options", "difference"),
    [
        (
            Reciter(hash="bbbb"),
            {},
            'teacher {"name": "reciter", "hash": "aaaa"}, and {"name": "reciter", "hash": "bbbb"}',
        ),
        (Reciter(), {"n": 2}, "n 3, and 2"),
        (Reciter(), {"settings": {"beam": 2}}, 'settings none, and {"beam": 2}'),
    ],
)
def test_transcripts_of_two_kinds_are_not_mixed(
    tmp_path: Path, teacher: Reciter, options: dict, difference: str
) -> None:
    written(tmp_path / "t", ids=IDS[:5])
    before = content(tmp_path / "t")
    with pytest.raises(ConfigError) as caught:
        written(tmp_path / "t", teacher, **options)
    assert str(caught.value) == (
        f"{tmp_path}/t has transcripts with {difference} is wanted; name another directory or delete this one"
    )
    assert content(tmp_path / "t") == before


def test_a_flipped_letter_is_found(tmp_path: Path) -> None:
    written(tmp_path / "t")
    path = tmp_path / "t" / "00000.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    lines[4] = lines[4].replace('"text": "', '"text": "x', 1)
    path.write_text("".join(lines))
    with pytest.raises(DataError) as caught:
        TeacherTranscripts.open(tmp_path / "t")
    assert str(caught.value) == (
        f"{path}, line 5: damaged (its digest is another); delete the line and run ./run.sh --stage book"
    )
    lines[4] = "nonsense\n"
    path.write_text("".join(lines))
    with pytest.raises(DataError) as caught:
        TeacherTranscripts.open(tmp_path / "t")
    assert str(caught.value).startswith(f"{path}, line 5: damaged (Expecting value")
    path.write_text("".join(lines[:4] + lines[5:]))
    assert written(tmp_path / "t") == 1  # as the sentence says


def test_no_transcripts(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        TeacherTranscripts.open(tmp_path)
    assert str(caught.value) == (f"{tmp_path} has no transcripts: manifest.json is missing; run ./run.sh --stage book")
    (tmp_path / "manifest.json").write_text(json.dumps({"version": 1, "n": 3}))
    with pytest.raises(DataError) as caught:
        TeacherTranscripts.open(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/manifest.json is damaged (KeyError('teacher')); restore it, or delete {tmp_path} and write it "
        "again"
    )


def test_a_log_probability_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        written(tmp_path / "t", Says(texts={"a": [("ab", math.nan)]}), ids=["a"])
    assert str(caught.value) == "reciter gives utterance 'a' a log-probability of nan; check it"


def test_speech_that_is_missing_or_out_of_turn(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        write_transcripts(tmp_path / "t", Reciter(), IDS, lambda ids: hear(ids[:5]), n=2)
    assert str(caught.value) == "there is no speech of utterance 'utt005'; check the data directory"
    with pytest.raises(DataError) as caught:
        write_transcripts(tmp_path / "t", Reciter(), IDS, lambda ids: hear(ids[::-1]), n=2)
    assert str(caught.value) == "the speech of utterance 'utt019' came out of turn; yield it in the order asked"


def test_settings_that_cannot_be(tmp_path: Path) -> None:
    for options in ({"n": 0}, {"batch": 0}, {"shard": 2, "shards": 2}):
        with pytest.raises(ConfigError) as caught:
            written(tmp_path / "t", **options)
        assert str(caught.value).endswith("; expected at least 1, and a shard below them")
    assert not (tmp_path / "t").exists()


def test_a_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError) as caught:
        written(tmp_path / "file" / "t")
    assert str(caught.value) == (
        f"{tmp_path}/file/t/00000.jsonl cannot be written (Not a directory); make room or name another directory, and "
        "run again"
    )


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "t", ids=IDS[:4])
    before = content(tmp_path / "t")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DataError) as caught:
            written(tmp_path / "t")
    assert str(caught.value) == (
        f"{tmp_path}/t/00000.jsonl cannot be written (No space left on device); make room or name another "
        "directory, and run again"
    )
    after = content(tmp_path / "t")["00000.jsonl"]
    assert after.startswith(before["00000.jsonl"])
    written(tmp_path / "t")
    written(tmp_path / "whole")
    assert content(tmp_path / "t") == content(tmp_path / "whole")
