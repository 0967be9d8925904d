"""Distil-Whisper (Gandhi, von Platen and Rush 2023, arXiv:2311.00430): a Whisper with fewer layers, by its teacher.

The stage "book" writes the teacher's transcripts (pseudo-labels). Utterances whose transcript differs from the
reference by more than ``system.whisper.max_wer`` of its words are left out; without a reference, those whose hypotheses
agree less than ``book.agreement``. The student learns every token by cross-entropy, and the teacher's distribution over
it by KL divergence. What is trained is saved as transformers saves it.

Letters: B utterances, F mel bins, T frames of 30 s, S target tokens, C tokens of the vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rapidfuzz.distance import Levenshtein
from torch import Tensor
from torch.utils.data import DataLoader

from seqkd.data.batches import Corpus
from seqkd.data.features import finished_features
from seqkd.data.sampling import StepSampler, longest_first
from seqkd.data.tokens import Tokenizer
from seqkd.decoding.run import write_decoded
from seqkd.errors import ConfigError
from seqkd.layout import plain, teacher_sources
from seqkd.losses import Labels, Outputs
from seqkd.losses.outputs import IGNORE
from seqkd.models.storage import model_hash
from seqkd.models.whisper import distilled
from seqkd.settings import build
from seqkd.tasks.asr.settings import MONITOR, SpeechTraining, WhisperSettings, training_of
from seqkd.tasks.settings import unlabelled_sets
from seqkd.teachers.aligned import Sets, device_of
from seqkd.teachers.external.audio import Recordings
from seqkd.teachers.external.huggingface_writing import WritingTeacher
from seqkd.teachers.external.opening import kind_of, open_teacher
from seqkd.teachers.external.sequence import fitted
from seqkd.teachers.importing import written
from seqkd.teachers.transcript_targets import open_transcripts
from seqkd.training.study import Study
from seqkd.uptodate import is_current

log = logging.getLogger("seqkd")


@dataclass
class WhisperBatch:
    """Utterances as Whisper reads them.

    Attributes:
        ids: B of them.
        features: (B, F, T).
        inputs: (B, S + prompt − 1) tokens that the decoder is given, the prompt before them.
        targets: (B, S) tokens to write, the end included; IGNORE behind it.
    """

    ids: list[str]
    features: Tensor
    inputs: Tensor
    targets: Tensor


class WhisperWork:
    """See `seqkd.training.workload.Workload`."""

    monitor = MONITOR

    def __init__(self, study: Study) -> None:
        cfg = study.cfg
        self.cfg = cfg
        self.chosen = build(WhisperSettings, plain(cfg.system.whisper), "system.whisper")
        self.tokenizer = Tokenizer.load(Path(cfg.tokens.directory))  # of the references: how they spell
        self.settings = build(SpeechTraining, training_of(cfg, study.role), f"{study.role}.training")
        unlabelled = unlabelled_sets(cfg)
        self.sets = Sets.of(Path(cfg.data), [cfg[study.role].train_set], self.tokenizer, unlabelled)
        self.dev_sets = Sets.of(Path(cfg.data), [cfg.sets.dev], self.tokenizer)
        torch.set_num_threads(self.settings.threads)
        self.teacher = whisper_of(cfg)
        self.written = pseudo_labels(cfg, self.sets.corpus, self.tokenizer, self.chosen.max_wer)
        torch.manual_seed(cfg.seed)
        self.model = distilled(
            self.teacher.model,
            encoder_layers=self.chosen.encoder_layers,
            decoder_layers=self.chosen.decoder_layers,
        )
        self.model.get_encoder().requires_grad_(not self.chosen.freeze_encoder)
        self.sources = {"teacher": WhisperSource(self.teacher.model, self.prompt_length)}

    @property
    def prompt_length(self) -> int:
        """Tokens that the decoder begins with."""
        return self.teacher.prompt.shape[1]

    def training(self, start: int, rank: int, world: int) -> DataLoader:
        """Batches of what was kept of the training set."""
        seconds = {u: s for u, s in self.sets.corpus.seconds().items() if u in self.written}
        sampler = StepSampler(
            seconds,
            updates=self.settings.updates,
            max_size=self.settings.max_duration / world,
            seed=self.cfg.seed,
            start=start,
            rank=rank,
            world=world,
        )
        return DataLoader(
            WhisperData(self, self.sets), sampler=sampler, batch_size=None, num_workers=self.settings.workers
        )

    def dev(self, rank: int, world: int) -> DataLoader:
        """Batches of dev; they need no targets."""
        batches = longest_first(self.dev_sets.corpus.seconds(), self.cfg.decode.max_duration, rank, world)
        return DataLoader(WhisperData(self, self.dev_sets), sampler=batches, batch_size=None)

    def views(self, batch: WhisperBatch) -> WhisperBatch:
        """The batch as it is."""
        return batch

    def outputs(self, model: Any, seen: WhisperBatch, layers: Collection[str] = (), passes: int = 1) -> Outputs:
        """Logits of every target token, given those before it: (P, B, S, C)."""
        if layers:
            raise ConfigError(f"layer is {next(iter(layers))!r}; a distilled Whisper gives its output alone")
        logits = torch.stack([token_logits(model, seen, self.prompt_length) for _ in range(passes)])
        return Outputs(logits, (seen.targets != IGNORE).sum(1))

    def labels(self, seen: WhisperBatch) -> Labels:
        """The teacher's transcript, token by token."""
        return Labels(seen.targets, (seen.targets != IGNORE).sum(1))

    def count(self, batch: WhisperBatch) -> float:
        """Target tokens."""
        return int((batch.targets != IGNORE).sum())

    def measure(self, model: Any, batch: WhisperBatch) -> dict[str, tuple[float, float]]:
        """Word errors of greedy decoding in the references' spelling, and words."""
        from seqkd.teachers.external.huggingface_files import quiet

        prompt = self.teacher.prompt.to(batch.features.device).expand(len(batch.ids), -1)
        with quiet():
            tokens = model.generate(batch.features, decoder_input_ids=prompt, num_beams=1, do_sample=False)
        texts = self.teacher.processor.batch_decode(tokens, skip_special_tokens=True)
        errors = words = 0
        for name, text in zip(batch.ids, texts, strict=True):
            reference = self.dev_sets.corpus.transcripts[name].split()
            errors += Levenshtein.distance(reference, fitted(text, self.tokenizer).split())
            words += len(reference)
        return {"dev_wer": (errors, words)}

    def save(self, directory: Path) -> None:
        """Write the model and its processor as transformers does."""
        self.model.save_pretrained(directory)
        self.teacher.processor.save_pretrained(directory)

    def summary(self) -> dict[str, Any]:
        """Audio, and what was left out. No reference is learned from; they choose what is."""
        corpus = self.sets.corpus
        hours = sum(seconds for u, seconds in corpus.seconds().items() if u in self.written) / 3600
        return {
            "labelled_hours": 0.0,
            "unlabelled_hours": round(hours, 3),
            "dropped": len(corpus) - len(self.written),
            "teacher_off_by_one": 0,
        }


class WhisperSource:
    """The teacher's distribution over every target token, frozen."""

    def __init__(self, model: Any, prompt: int) -> None:
        self.model, self.prompt = model, prompt

    def to(self, device: torch.device) -> None:
        """Bring it to a device."""
        self.model.to(device)

    @torch.no_grad()
    def __call__(self, seen: WhisperBatch, student: Outputs) -> Outputs:
        """(1, B, S, C)."""
        return Outputs(token_logits(self.model, seen, self.prompt)[None], student.lengths)


class WhisperData:
    """Turns ids into a batch: log-mel features of 30 s, and tokens of the teacher's transcripts where there are any."""

    def __init__(self, work: WhisperWork, sets: Sets) -> None:
        self.teacher, self.written, self.recordings = work.teacher, work.written, Recordings.of(sets.directories)

    def __getitem__(self, ids: list[str]) -> WhisperBatch:
        processor, rate = self.teacher.processor, self.teacher.sample_rate
        speech = [one.samples.numpy() for one in self.recordings.speech(ids, rate)]
        features = processor.feature_extractor(speech, sampling_rate=rate, return_tensors="pt").input_features
        texts = [self.written.get(u, "") for u in ids]
        tokens = [processor.tokenizer(text, add_special_tokens=False).input_ids for text in texts]
        end, prompt = processor.tokenizer.eos_token_id, self.teacher.prompt[0].tolist()
        pad = torch.nn.utils.rnn.pad_sequence
        inputs = pad([torch.tensor([*prompt, *one]) for one in tokens], batch_first=True, padding_value=end)
        targets = pad([torch.tensor([*one, end]) for one in tokens], batch_first=True, padding_value=IGNORE)
        return WhisperBatch(ids, features, inputs, targets)


def token_logits(model: Any, batch: WhisperBatch, prompt: int) -> Tensor:
    """(B, S, C): what is given behind the last token of the prompt, and behind each of the text."""
    return model(input_features=batch.features, decoder_input_ids=batch.inputs).logits[:, prompt - 1 :]


def whisper_of(cfg: DictConfig) -> WritingTeacher:
    """The one teacher of the settings. Raises ConfigError if it is no Whisper of transformers."""
    sources = teacher_sources(cfg)
    if len(sources) != 1 or kind_of(sources[0]) != "huggingface":
        raise ConfigError(
            f"system {cfg.system.name} distils a Whisper of transformers; name one in teacher.import_from (hf:NAME, or "
            "a directory of save_pretrained)"
        )
    teacher = open_teacher(sources[0], device=device_of(cfg), language=cfg.teacher.language, beam=max(2, cfg.book.beam))
    if not isinstance(teacher, WritingTeacher) or teacher.model.config.model_type != "whisper":
        raise ConfigError(f"{sources[0]} is no Whisper; system {cfg.system.name} distils Whisper alone")
    return teacher


def pseudo_labels(cfg: DictConfig, corpus: Corpus, tokenizer: Tokenizer, max_wer: float) -> dict[str, str]:
    """The teacher's best transcripts, as it wrote them, of the utterances that are learned from.

    Raises:
        ConfigError: the stage "book" has not written them, or none is good enough.
    """
    there = open_transcripts(cfg, list(corpus.transcripts))
    agreed = set(there.keep(cfg.book.agreement, tokenizer))
    kept = {}
    for utterance, reference in corpus.transcripts.items():
        hypotheses = there.of(utterance)
        text = hypotheses[0].text if hypotheses else ""
        if not text:
            continue
        if reference is None:
            good = utterance in agreed
        else:
            words = reference.split()
            good = Levenshtein.distance(words, fitted(text, tokenizer).split()) <= max_wer * len(words)
        if good:
            kept[utterance] = text
    if not kept:
        raise ConfigError(
            f"none of {len(corpus)} transcripts of {there.teacher} has at most {100 * max_wer:g} % WER; raise "
            "system.whisper.max_wer, or name a better teacher"
        )
    if len(kept) < len(corpus):
        log.warning("%d of %d utterances: the teacher's transcript is not good enough, and is not learned from",
                    len(corpus) - len(kept), len(corpus))  # fmt: skip
    return kept


def train(study: Study) -> None:
    """The procedure of systems that distil Whisper: one phase; then the whole student counts as its own."""
    if study.done:
        return
    work = WhisperWork(study)
    with study.working():
        fitted_ = study.fit(work)
        work.model.requires_grad_(True)  # a frozen encoder is part of the student, too
        study.finish(fitted_, work)


def is_whisper(run: Path) -> bool:
    """Whether a run has trained a model of transformers."""
    return (run / "model" / "config.json").is_file() and not (run / "model" / "model.yaml").is_file()


def decode(cfg: DictConfig, run: Path, name: str) -> None:
    """What a student writes of a test set, as ``decode_run`` writes it of a CTC model."""
    out = run / f"decode_{name}"
    beam = max(2, cfg.decode.beam)
    made_by = {"model": model_hash(run / "model"), "beam": beam, "features": finished_features(Path(cfg.data) / name)}
    if is_current(out / "decode.json", made_by, out / "text"):
        return
    tokenizer = Tokenizer.load(Path(cfg.tokens.directory))
    student = open_teacher(run / "model", device=device_of(cfg), language=cfg.teacher.language, beam=beam)
    student.name = cfg.system.label
    write_decoded(out, written(student, Sets.of(Path(cfg.data), [], tokenizer, [name]), tokenizer), made_by)
