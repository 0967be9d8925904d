"""From a data directory to what a student reads: every part of a foreign teacher's way, in the order of the recipe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from seqkd.data.kaldi import read_data_dir
from seqkd.data.tokens import Tokenizer, train_tokenizer
from seqkd.knowledge import Book, Manifest, TeacherId, TeacherOutput, write_book
from seqkd.teachers.external.audio import FrameTeacher, read_speech
from seqkd.teachers.external.opening import open_teacher
from seqkd.teachers.external.rates import to_rate
from seqkd.teachers.external.sequence import nbest_of
from seqkd.teachers.external.transcripts import TeacherTranscripts, write_transcripts
from seqkd.teachers.external.vocabulary import CannotMap, VocabularyMap
from tests.teachers.external.tiny_teachers import save_tiny_torchaudio, save_tiny_wav2vec2
from tests.tone_corpus import TONES

SHIFT = 40.0


@pytest.fixture(params=[save_tiny_wav2vec2, save_tiny_torchaudio])
def teacher(request: pytest.FixtureRequest, tmp_path: Path) -> FrameTeacher:
    request.param(tmp_path / "teacher", "DOREMIFA")
    return open_teacher(tmp_path / "teacher")


@pytest.fixture
def student() -> Tokenizer:
    return train_tokenizer([" ".join(TONES)], type="char", vocab_size=0, word_boundary="between")


@pytest.mark.filterwarnings("ignore:.*is resampled:UserWarning")
def test_a_book_holds_what_the_teacher_says(
    tones: Path, teacher: FrameTeacher, student: Tokenizer, tmp_path: Path
) -> None:
    ids = [utterance.id for utterance in read_data_dir(tones / "dev")]
    table = VocabularyMap.of(teacher.vocabulary, student, teacher.name)
    assert table.unreached == table.notes == ()

    def of(log_probs: torch.Tensor) -> torch.Tensor:
        frames = round(len(log_probs) * teacher.frame_shift_ms / SHIFT) + 1  # a student that ends a little later
        return to_rate(
            table.apply(log_probs), teacher_shift_ms=teacher.frame_shift_ms, student_shift_ms=SHIFT, frames=frames
        ).log_probs

    def answers(missing: list[tuple[str, int]]) -> Iterator[TeacherOutput]:
        for speech in read_speech(tones / "dev", [name for name, _ in missing], teacher.sample_rate):
            yield TeacherOutput(speech.id, of(teacher.log_probs([speech])[0]))

    manifest = Manifest(
        teachers=(TeacherId(teacher.name, teacher.hash),),
        units=student.hash,
        classes=len(student),
        blank=0,
        frame_shift_ms=SHIFT,
    )
    assert write_book(tmp_path / "book", manifest, ids, answers) == len(ids)
    book = Book.open(tmp_path / "book").require(units=student.hash, classes=len(student), utterances=ids)
    together = teacher.log_probs(list(read_speech(tones / "dev", ids, teacher.sample_rate)))
    for name, log_probs in zip(ids, together, strict=True):
        stored, lengths = book.collate([name])
        expected = of(log_probs)
        assert lengths.tolist() == [len(expected)]
        assert torch.allclose(stored[0].exp(), expected.exp(), atol=1e-3)
        assert (expected.exp().sum(-1) - 1).abs().max() < 1e-5


@pytest.mark.filterwarnings("ignore:.*is resampled:UserWarning")
def test_a_student_of_other_units_reads_its_transcripts(tones: Path, teacher: FrameTeacher, tmp_path: Path) -> None:
    words = train_tokenizer([" ".join(TONES)], type="word", vocab_size=0)
    with pytest.raises(CannotMap):
        VocabularyMap.of(teacher.vocabulary, words)
    ids = [utterance.id for utterance in read_data_dir(tones / "dev")]
    writer = nbest_of(teacher, beam=4)
    hear = lambda missing: read_speech(tones / "dev", missing, writer.sample_rate)  # noqa: E731
    assert write_transcripts(tmp_path / "t", writer, ids, hear, n=3, settings={"beam": 4}) == len(ids)
    found = TeacherTranscripts.open(tmp_path / "t").require(teacher=teacher.hash, utterances=ids)
    letters = set("DOREMIFA ")
    for speech in read_speech(tones / "dev", ids, teacher.sample_rate):
        assert found.of(speech.id) == writer.transcribe([speech], 3)[0]
        assert all(set(one.text) <= letters for one in found.of(speech.id))
        assert 0 <= found.agreement(speech.id) <= 1
    assert any(one.text for name in ids for one in found.of(name))
