"""Teachers that give transcripts: encoder-decoder models, and CTC teachers through a beam search."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from seqkd.data.tokens import train_tokenizer
from seqkd.errors import ConfigError, DataError
from seqkd.teachers.external.audio import FrameTeacher, SequenceTeacher, Speech, TeacherTranscript
from seqkd.teachers.external.opening import open_teacher
from seqkd.teachers.external.sequence import distinct, fitted, nbest_of
from seqkd.teachers.external.vocabulary import Vocabulary
from tests.teachers.external.tiny_teachers import save_tiny_speech2text, save_tiny_whisper

RATE = 16000


def speech(*lengths: int) -> list[Speech]:
    generator = torch.Generator().manual_seed(sum(lengths))
    return [Speech(f"u{n}", 0.1 * torch.randn(n, generator=generator), RATE) for n in lengths]


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.nn.Module]:
    directory = tmp_path_factory.mktemp("whisper") / "tiny"
    return directory, save_tiny_whisper(directory)


@torch.no_grad()
def test_whisper_gives_its_n_best_with_their_log_probabilities(whisper: tuple[Path, torch.nn.Module]) -> None:
    from transformers import WhisperProcessor

    directory, model = whisper
    teacher = open_teacher(directory, beam=6)
    assert isinstance(teacher, SequenceTeacher)
    assert not isinstance(teacher, FrameTeacher)
    asked = speech(16000)[0]
    found = teacher.transcribe([asked], 4)[0]
    assert len({one.text for one in found}) == len(found) > 1
    assert [one.log_prob for one in found] == sorted((one.log_prob for one in found), reverse=True)
    # Each is scored again by one pass of the decoder over the whole of it; a letter is a token.
    processor = WhisperProcessor.from_pretrained(directory)
    features = processor(asked.samples.numpy(), sampling_rate=RATE, return_tensors="pt").input_features
    vocabulary = processor.tokenizer.get_vocab()
    prompt = [vocabulary["<|startoftranscript|>"], vocabulary["<|notimestamps|>"]]
    generated = model.generation_config.max_length - len(prompt)
    for one in found:
        assert one.text.isascii()
        assert one.text.islower()  # the model's own settings suppress all other tokens
        tokens = [vocabulary[letter] for letter in one.text]
        tokens += [vocabulary["<|endoftext|>"]] * (len(tokens) < generated)
        inputs = torch.tensor([prompt + tokens])
        log_probs = model(input_features=features, decoder_input_ids=inputs).logits[0].log_softmax(-1)
        total = sum(float(log_probs[len(prompt) - 1 + s, token]) for s, token in enumerate(tokens))
        assert one.log_prob == pytest.approx(total, abs=1e-3)


def test_whisper_does_not_depend_on_the_batch(whisper: tuple[Path, torch.nn.Module]) -> None:
    teacher = open_teacher(whisper[0])
    asked = speech(16000, 4000, 9000)
    together = teacher.transcribe(asked, 3)
    assert [teacher.transcribe([one], 3)[0] for one in asked] == together
    assert open_teacher(whisper[0]).hash == teacher.hash


@torch.no_grad()
def test_another_encoder_decoder_model(tmp_path: Path) -> None:
    from transformers import Speech2TextProcessor

    model = save_tiny_speech2text(tmp_path / "s2t")
    teacher = open_teacher(tmp_path / "s2t")
    assert isinstance(teacher, SequenceTeacher)
    with pytest.raises(ConfigError) as caught:
        open_teacher(tmp_path / "s2t", language="en")
    assert str(caught.value) == (
        f"{tmp_path}/s2t is a speech_to_text, and a language can be set for Whisper alone; set teacher.language=null"
    )
    asked = speech(16000, 9000)
    found = teacher.transcribe(asked, 3)
    assert [teacher.transcribe([one], 3)[0] for one in asked] == found
    processor = Speech2TextProcessor.from_pretrained(tmp_path / "s2t")
    for one, answers in zip(asked, found, strict=True):
        inputs = processor(one.samples.numpy(), sampling_rate=RATE, return_tensors="pt")
        tokens = model.generate(**inputs, num_beams=5, length_penalty=1.0)
        assert answers[0].text == processor.batch_decode(tokens, skip_special_tokens=True)[0]
        assert len(answers[0].text) > 3
        labels = json.loads((tmp_path / "s2t" / "vocab.json").read_text())
        written = [labels[letter] for letter in answers[0].text] + [labels["</s>"]]
        written = written[: model.generation_config.max_length - 1]
        decoder = torch.tensor([[model.config.decoder_start_token_id, *written]])
        log_probs = model(**inputs, decoder_input_ids=decoder).logits[0].log_softmax(-1)
        total = sum(float(log_probs[s, token]) for s, token in enumerate(written))
        assert answers[0].log_prob == pytest.approx(total, abs=1e-3)


def test_whisper_takes_30_seconds(whisper: tuple[Path, torch.nn.Module]) -> None:
    teacher = open_teacher(whisper[0])
    with pytest.raises(DataError) as caught:
        teacher.transcribe(speech(30 * RATE + 1600), 1)
    assert str(caught.value) == (
        f"utterance 'u481600' lasts 30.1 s and {whisper[0].name} takes 30 s; split it with a segments file"
    )
    with pytest.raises(DataError) as caught:
        teacher.transcribe(speech(80), 1)
    assert str(caught.value) == f"utterance 'u80' lasts 5 ms and {whisper[0].name} needs at least 25 ms; remove it"


def test_a_whisper_of_several_languages_must_be_told(tmp_path: Path) -> None:
    save_tiny_whisper(tmp_path / "w", multilingual=True)
    with pytest.raises(ConfigError) as caught:
        open_teacher(tmp_path / "w")
    assert str(caught.value) == (
        f"{tmp_path}/w knows several languages; say which one is spoken: set teacher.language=en"
    )
    with pytest.raises(ConfigError) as caught:
        open_teacher(tmp_path / "w", language="german")
    assert str(caught.value) == (
        f"{tmp_path}/w has no token '<|german|>'; expected a language's code, as in teacher.language=en"
    )
    english, german = (open_teacher(tmp_path / "w", language=code) for code in ("en", "de"))
    assert english.hash != german.hash  # they answer otherwise
    assert english.transcribe(speech(8000), 2) != german.transcribe(speech(8000), 2)


def test_an_english_whisper_and_german(whisper: tuple[Path, torch.nn.Module]) -> None:
    with pytest.raises(ConfigError) as caught:
        open_teacher(whisper[0], language="de")
    assert str(caught.value) == (
        f"{whisper[0]} knows English only, but teacher.language is de; set teacher.language=en"
    )
    assert open_teacher(whisper[0], language="en").hash == open_teacher(whisper[0]).hash


def test_a_beam_of_one(whisper: tuple[Path, torch.nn.Module]) -> None:
    with pytest.raises(ConfigError) as caught:
        open_teacher(whisper[0], beam=1)
    assert str(caught.value) == f"the beam of {whisper[0].name} is 1; expected at least 2"


# ---- a CTC teacher through the beam search


@dataclass
class Fixed:
    """A teacher of frames that says the same of everything."""

    answer: torch.Tensor
    vocabulary: Vocabulary
    name: str = "fixed"
    hash: str = "0123456789abcdef"
    frame_shift_ms: float = 20.0
    sample_rate: int | None = RATE
    asked: list[str] = field(default_factory=list)

    def log_probs(self, speech: list[Speech]) -> list[torch.Tensor]:
        self.asked += [one.id for one in speech]
        return [self.answer for _ in speech]


def test_n_best_of_a_ctc_teacher_against_all_paths() -> None:
    vocabulary = Vocabulary.of(("<pad>", "<s>", "|", "A", "B"), 0, "|")
    log_probs = (2 * torch.randn(4, 5, generator=torch.Generator().manual_seed(3))).log_softmax(-1)
    teacher = nbest_of(Fixed(log_probs, vocabulary), beam=10_000)
    assert isinstance(teacher, SequenceTeacher)
    sums: dict[str, float] = {}
    for path in itertools.product(range(5), repeat=4):
        merged = [unit for t, unit in enumerate(path) if unit and (t == 0 or path[t - 1] != unit)]
        words = "".join({2: " ", 3: "A", 4: "B"}.get(unit, "") for unit in merged).split()
        probability = math.exp(sum(float(log_probs[t, unit]) for t, unit in enumerate(path)))
        sums[" ".join(words)] = sums.get(" ".join(words), 0.0) + probability
    found = teacher.transcribe(speech(8000), 1000)[0]
    assert sum(math.exp(one.log_prob) for one in found) == pytest.approx(1.0, abs=1e-3)  # the search drops a little
    for one in found[:20]:
        assert math.exp(one.log_prob) == pytest.approx(sums[one.text], rel=1e-3)
    assert [one.text for one in found[:10]] == sorted(sums, key=sums.__getitem__, reverse=True)[:10]
    assert teacher.transcribe(speech(8000), 3)[0][0] == found[0]
    assert (teacher.name, teacher.hash, teacher.sample_rate) == ("fixed", "0123456789abcdef", RATE)


def test_pieces_of_words_are_put_together() -> None:
    vocabulary = Vocabulary.of(("<blank>", "▁the", "▁c", "at"), 0, "▁")
    log_probs = torch.full((5, 4), 0.01)
    log_probs[range(5), [1, 0, 2, 3, 0]] = 0.97
    found = nbest_of(Fixed(log_probs.log(), vocabulary)).transcribe(speech(8000), 2)[0]
    assert found[0].text == "the cat"


def test_distinct() -> None:
    found = distinct(
        [
            TeacherTranscript("b", math.log(0.2)),
            TeacherTranscript("a", math.log(0.3)),
            TeacherTranscript("b", math.log(0.2)),
        ]
    )
    assert [one.text for one in found] == ["b", "a"]
    assert [math.exp(one.log_prob) for one in found] == pytest.approx([0.4, 0.3])
    tied = [TeacherTranscript("b", -1.0), TeacherTranscript("a", -1.0)]
    assert distinct(tied) == distinct(tied[::-1])


@pytest.mark.parametrize(
    ("text", "trained", "expected"),
    [
        ("Hello, World.", "hello world", "hello world"),
        ("Don’t -- stop-it!", "abc", "dont stop it"),
        ("Don’t stop", "it's abc", "don't stop"),
        ("hello, world", "HELLO", "HELLO WORLD"),
        ("It costs $5.", "it costs", "it costs 5"),
        ("a.b", "a.b", "a.b"),
        ("ﬁne  é", "fine", "fine é"),
        ("...", "abc", ""),
    ],
)
def test_texts_are_fitted_to_the_students_spelling(text: str, trained: str, expected: str) -> None:
    assert fitted(text, train_tokenizer([trained], type="char", vocab_size=0)) == expected


def test_no_beam() -> None:
    with pytest.raises(ConfigError) as caught:
        nbest_of(Fixed(torch.zeros(1, 2), Vocabulary(("a", "b"), 0)), beam=0)
    assert str(caught.value) == "the beam of fixed is 0; expected at least 1"
