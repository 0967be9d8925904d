"""Teachers, trained here or elsewhere, whose outputs have the student's units and frame rate.

Letters: T feature frames, T' frames of the student, C classes of the student.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from omegaconf import DictConfig
from torch import Tensor

from seqkd.data.batches import Corpus, load_corpus
from seqkd.data.features import FeatureSettings, fbank, utterance_contents
from seqkd.data.subsampling import subsampled_length
from seqkd.data.tokens import Tokenizer
from seqkd.errors import ConfigError
from seqkd.layout import plain, teacher_sources
from seqkd.models.ctc import CtcModel
from seqkd.models.storage import model_hash
from seqkd.stages import again
from seqkd.teachers.base import check_compatible
from seqkd.teachers.checkpoint import CheckpointTeacher
from seqkd.teachers.external.audio import FrameTeacher, SequenceTeacher, Speech, check_rate, read_speech
from seqkd.teachers.external.opening import PREFIXES, kind_of, open_teacher
from seqkd.teachers.external.rates import to_rate
from seqkd.teachers.external.sequence import nbest_of
from seqkd.teachers.external.vocabulary import BOUNDARY, CannotMap, Vocabulary, VocabularyMap


@dataclass(frozen=True)
class Sets:
    """Sets of a recipe: features and transcripts, and the data directories where the audio is."""

    corpus: Corpus
    directories: tuple[Path, ...]

    @classmethod
    def of(cls, data: Path, labelled: Sequence[str], tokenizer: Tokenizer, unlabelled: Sequence[str] = ()) -> Sets:
        """Read sets of ``data``; see `load_corpus` for what is dropped and what is an error."""
        corpus = load_corpus(data, list(labelled), tokenizer, list(unlabelled))
        return cls(corpus, tuple(data / name for name in (*labelled, *unlabelled)))

    def contents(self, *, text: bool = False) -> dict[str, str]:
        """Hashes of what teachers are given of each utterance, by id, see `contents_of`."""
        return contents_of(self.directories, text=text)

    def speech(self, ids: Sequence[str], sample_rate: int | None) -> Iterator[Speech]:
        """The audio of utterances, in their order."""
        return read_speech(self.directories, ids, sample_rate)


def contents_of(directories: Sequence[Path], *, text: bool = False) -> dict[str, str]:
    """Hashes of the audio of all utterances of data directories, and of their transcripts if ``text``, by id."""
    return {name: one for directory in directories for name, one in utterance_contents(directory, text=text).items()}


def student_directories(cfg: DictConfig) -> list[Path]:
    """The data directories that a system's student is trained on."""
    unlabelled = cfg.unlabelled if cfg.system.use_unlabelled else []
    return [Path(cfg.data) / name for name in (cfg.student.train_set, *unlabelled)]


class AlignedTeacher(Protocol):
    """One teacher. ``name`` is what the settings call it, ``hash`` that of its parameters."""

    name: str
    hash: str

    def log_probs(self, sets: Sets, ids: Sequence[str], temperature: float = 1.0) -> Iterator[Tensor]:
        """(T', C) log-probabilities for each utterance, in order; of softmax(z / temperature) over its own units."""
        ...


class OwnTeacher:
    """A model trained here. Its input is the features that students are given."""

    def __init__(self, name: str, teacher: CheckpointTeacher) -> None:
        self.name, self.hash, self.teacher = name, teacher.name, teacher

    def log_probs(self, sets: Sets, ids: Sequence[str], temperature: float = 1.0) -> Iterator[Tensor]:
        """See AlignedTeacher."""
        device = self.teacher.fill.device
        for utterance in ids:
            features = sets.corpus.store[utterance][None].to(device)
            logits, lengths = self.teacher.logits(features, torch.tensor([features.shape[1]], device=device))
            yield (logits[0, : int(lengths)].float() / temperature).log_softmax(-1).cpu()


@dataclass
class ExternalTeacher:
    """An external teacher. Its input is samples; its units and frame rate are mapped to the student's.

    ``lost`` counts the units of its greedy transcripts that its own frames held and the student's do not.
    """

    name: str
    teacher: FrameTeacher
    mapping: VocabularyMap
    frame_shift_ms: float
    rule: str
    lost: int = field(default=0, init=False)

    @property
    def hash(self) -> str:
        """See AlignedTeacher."""
        return self.teacher.hash

    @property
    def earlier_hash(self) -> str | None:
        """See `hash_among`."""
        return getattr(self.teacher, "earlier_hash", None)

    def log_probs(self, sets: Sets, ids: Sequence[str], temperature: float = 1.0) -> Iterator[Tensor]:
        """See AlignedTeacher."""
        for speech in sets.speech(ids, self.teacher.sample_rate):
            own = self.teacher.log_probs([speech])[0]
            mapped = self.mapping.apply((own / temperature).log_softmax(-1))
            found = to_rate(
                mapped,
                teacher_shift_ms=self.teacher.frame_shift_ms,
                student_shift_ms=self.frame_shift_ms,
                frames=subsampled_length(sets.corpus.store.frames[speech.id]),
                rule=self.rule,
                utterance=speech.id,
            )
            self.lost += found.lost
            yield found.log_probs.log_softmax(-1)


class OwnFrameTeacher:
    """A model trained here as a `FrameTeacher`, whose input is samples: for its transcripts."""

    def __init__(self, name: str, teacher: CheckpointTeacher, tokenizer: Tokenizer) -> None:
        self.name, self.hash, self._teacher = name, teacher.name, teacher
        boundary = BOUNDARY if any(unit.startswith(BOUNDARY) for unit in tokenizer.units) else None
        self.vocabulary = Vocabulary.of(tokenizer.units, tokenizer.blank, boundary)
        self.frame_shift_ms, self.sample_rate = teacher.frame_shift_ms, teacher.features.sample_rate

    def log_probs(self, speech: Sequence[Speech]) -> list[Tensor]:
        """See FrameTeacher; one at a time, so that an answer depends on nothing else."""
        return [self._answer(one) for one in speech]

    def _answer(self, speech: Speech) -> Tensor:
        check_rate(speech, self.sample_rate, self.name)
        features = fbank(speech.samples, self._teacher.features)[None]
        logits, lengths = self._teacher.logits(features, torch.tensor([features.shape[1]]))
        return logits[0, : int(lengths)].float().log_softmax(-1)


def is_own(source: str) -> bool:
    """Whether a teacher was trained here (or is to be: an absent directory)."""
    return not source.startswith(PREFIXES) and (not Path(source).is_dir() or kind_of(source) == "own")


def all_own(cfg: DictConfig) -> bool:
    """Whether the input of all teachers is features, as that of students."""
    return all(is_own(source) for source in teacher_sources(cfg))


def aligned_teachers(cfg: DictConfig, tokenizer: Tokenizer) -> list[AlignedTeacher]:
    """Open all teachers of the settings for students of ``tokenizer``.

    Raises:
        CannotMap: one of them gives transcripts only, or has units that are none of the student's.
        ConfigError: one that is not there, or that does not fit.
    """
    student = CtcModel(plain(cfg.student.model), FeatureSettings(**cfg.features), len(tokenizer))
    return [_aligned(cfg, source, tokenizer, student) for source in teacher_sources(cfg)]


def _aligned(cfg: DictConfig, source: str, tokenizer: Tokenizer, student: CtcModel) -> AlignedTeacher:
    if is_own(source):
        teacher = own_teacher(source)
        check_compatible(
            teacher,
            classes=student.classes,
            frame_shift_ms=student.frame_shift_ms,
            tokenizer_hash=tokenizer.hash,
            features=student.features,
        )
        return OwnTeacher(source_name(source), teacher.to(device_of(cfg)))
    teacher = opened(cfg, source, tokenizer)
    if not isinstance(teacher, FrameTeacher):
        raise CannotMap(f"{source} writes transcripts and has no frames to learn from")
    mapping = VocabularyMap.of(teacher.vocabulary, tokenizer, source)
    return ExternalTeacher(source, teacher, mapping, student.frame_shift_ms, cfg.teacher.rate_rule)


def transcriber(cfg: DictConfig, tokenizer: Tokenizer) -> SequenceTeacher:
    """The one teacher of the settings, for its transcripts.

    Raises:
        ConfigError: several teachers, or one that is not there.
    """
    sources = teacher_sources(cfg)
    if len(sources) > 1:
        raise ConfigError(
            f"there are {len(sources)} teachers, and transcripts are learned from one: name one in teacher.import_from"
        )
    (source,) = sources
    if is_own(source):
        return nbest_of(OwnFrameTeacher(source_name(source), own_teacher(source), tokenizer), beam=cfg.book.beam)
    teacher = opened(cfg, source, tokenizer)
    if isinstance(teacher, FrameTeacher):
        teacher = nbest_of(teacher, beam=cfg.book.beam)
    teacher.name = source
    return teacher


def opened(cfg: DictConfig, source: str, tokenizer: Tokenizer) -> FrameTeacher | SequenceTeacher:
    """A teacher from elsewhere, as the settings have it; one for a student without digits writes numbers as words."""
    return open_teacher(
        source,
        device=device_of(cfg),
        language=cfg.teacher.language,
        beam=cfg.book.beam,
        numerals=any(character.isdecimal() for unit in tokenizer.units for character in unit),
    )


def own_teacher(source: str) -> CheckpointTeacher:
    """Load a model directory; ConfigError if there is none."""
    check_there(source)
    return CheckpointTeacher.from_directory(Path(source))


def check_there(source: str) -> None:
    """Raise ConfigError unless a model directory is finished."""
    if not (Path(source) / "model.safetensors").is_file():
        raise ConfigError(f"{source}: no teacher here; name one by teacher.import_from=DIR, or {again('teachers')}")


def source_name(source: str) -> str:
    """What a book calls a teacher: one trained here by its system."""
    directory = Path(source)
    return source if not is_own(source) else directory.parent.parent.name if directory.name == "model" else source


def own_hash(source: str) -> str:
    """Of the weights of a model directory."""
    check_there(source)
    return model_hash(Path(source))


def device_of(cfg: DictConfig) -> str:
    """Where networks run."""
    return "cuda" if cfg.ngpu else "cpu"
