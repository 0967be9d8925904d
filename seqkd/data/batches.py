"""Data directories to batches.

Letters: B batch, T frames, F feature bins, S units; V views, T' encoder frames, C classes; N hypotheses, U their units.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from seqkd.data.features import FeatureStore, data_fingerprint, finished_features
from seqkd.data.kaldi import read_data_dir
from seqkd.data.sampling import StepSampler, longest_first
from seqkd.data.subsampling import subsampled_length
from seqkd.data.tokens import Tokenizer
from seqkd.errors import DataError
from seqkd.losses import Hypotheses
from seqkd.stages import again
from seqkd.uptodate import CACHE


@dataclass
class TeacherOutputs:
    """The outputs of teachers for a batch, frame by frame: ``logits`` (V, B, T', C) and ``lengths`` (B,).

    ``seeds``, V lists of B, are those of the augmentation of their input; None if they were given the audio as it is.
    ``entropy`` (V, B, T') is of the whole posteriors at ``temperature``, in nats, where ``logits`` are of a part alone.
    """

    logits: Tensor
    lengths: Tensor
    seeds: list[list[int]] | None = None
    entropy: Tensor | None = None
    temperature: float = 1.0


# What is known about the utterances of one update: from their ids and the number of the update.
Knowledge = Callable[[list[str], int], TeacherOutputs | Hypotheses]


@dataclass
class Batch:
    """Padded utterances and their transcripts, and what is known about them.

    ``features`` (B, T, F), ``feature_lengths`` (B,), ``targets`` (B, S), ``target_lengths`` (B,), ``labelled`` (B,).
    """

    ids: list[str]
    features: Tensor
    feature_lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    labelled: Tensor
    teacher_outputs: TeacherOutputs | None = None
    hypotheses: Hypotheses | None = None


@dataclass
class Corpus:
    """What a model trains or is tested on: features and transcripts (None: unlabelled) by id, and the dropped ids."""

    store: FeatureStore
    transcripts: dict[str, str | None]
    targets: dict[str, list[int]]
    dropped: dict[str, str]

    def __len__(self) -> int:
        return len(self.transcripts)

    def seconds(self) -> dict[str, float]:
        """Seconds of audio of each utterance, at a 10 ms shift."""
        return {u: self.store.frames[u] / 100 for u in self.transcripts}

    def without_transcripts(self) -> Corpus:
        """The same utterances, all of them unlabelled."""
        return Corpus(self.store, dict.fromkeys(self.transcripts), {u: [] for u in self.targets}, self.dropped)

    def hours(self, labelled: bool) -> float:
        """Hours of audio with (or without) a transcript, at a 10 ms shift."""
        frames = [self.store.frames[u] for u, text in self.transcripts.items() if (text is not None) == labelled]
        return sum(frames) / 360_000


def frames_needed(targets: list[int]) -> int:
    """Encoder frames that a CTC alignment needs: one a unit, and a blank between equal neighbours."""
    return len(targets) + sum(a == b for a, b in itertools.pairwise(targets))


def load_corpus(data: Path, labelled: list[str], tokenizer: Tokenizer, unlabelled: list[str] = ()) -> Corpus:
    """Read sets of ``data``. Transcripts of ``unlabelled`` sets are ignored if there are any.

    For decoding, name the set in ``unlabelled``: then every utterance is kept. Utterances whose transcript cannot
    fit their frames are left out and listed in ``dropped`` with the reason.
    Raises DataError when an id is in two sets, a labelled set has no transcripts, a set has changed since its
    features were made, or nothing is left.
    """
    names = [*labelled, *unlabelled]
    store = FeatureStore([data / name for name in names])
    corpus = Corpus(store, {}, {}, {})
    for name in names:
        utterances = read_data_dir(data / name)
        if data_fingerprint(utterances, data / name / CACHE) != finished_features(data / name)["data"]:
            raise DataError(f"{data / name} has changed since its features were made; {again('prepare')}")
        for u in utterances:
            if u.id in corpus.transcripts or u.id in corpus.dropped:
                raise DataError(f"utterance {u.id} of {data / name} is also in another set of {names}; remove one")
            text = None if name in unlabelled else u.text
            if text is None and name in labelled and name not in unlabelled:
                raise DataError(
                    f"{data / name} has no text file, but is used as a labelled set; name it in unlabelled="
                )
            targets = [] if text is None else tokenizer.encode(text, f"{data / name}/text, utterance {u.id}")
            available, needed = subsampled_length(store.frames[u.id]), frames_needed(targets)
            if needed > available:
                corpus.dropped[u.id] = f"{needed} frames needed by the transcript, {available} available"
                continue
            corpus.transcripts[u.id], corpus.targets[u.id] = text, targets
    if not corpus.transcripts:
        raise DataError(f"no utterance of {names} in {data} is usable: {len(corpus.dropped)} do not fit their frames")
    return corpus


class _Utterances(Dataset):
    """Turns a list of utterance ids into a Batch; with the number of the update, if something is known about them."""

    def __init__(self, corpus: Corpus, knowledge: Knowledge | None = None) -> None:
        self.corpus, self.knowledge = corpus, knowledge

    def __getitem__(self, update: tuple[int, list[str]]) -> Batch:
        step, ids = update
        features = [self.corpus.store[u] for u in ids]
        targets = [torch.tensor(self.corpus.targets[u], dtype=torch.long) for u in ids]
        known = self.knowledge(ids, step) if self.knowledge else None
        return Batch(
            ids=ids,
            features=torch.nn.utils.rnn.pad_sequence(features, batch_first=True),
            feature_lengths=torch.tensor([len(x) for x in features]),
            targets=torch.nn.utils.rnn.pad_sequence(targets, batch_first=True),
            target_lengths=torch.tensor([len(x) for x in targets]),
            labelled=torch.tensor([self.corpus.transcripts[u] is not None for u in ids]),
            teacher_outputs=known if isinstance(known, TeacherOutputs) else None,
            hypotheses=known if isinstance(known, Hypotheses) else None,
        )


class _Numbered:
    """Batches of a sampler with their numbers."""

    def __init__(self, batches: StepSampler | list[list[str]], start: int = 0) -> None:
        self.batches, self.start = batches, start

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        return enumerate(self.batches, start=self.start)


def training_batches(
    corpus: Corpus, sampler: StepSampler, workers: int, knowledge: Knowledge | None = None
) -> DataLoader:
    """Yield one Batch an update."""
    numbered = _Numbered(sampler, getattr(sampler, "start", 0))
    return DataLoader(_Utterances(corpus, knowledge), sampler=numbered, batch_size=None, num_workers=workers)


def evaluation_batches(corpus: Corpus, max_duration: float, rank: int = 0, world: int = 1) -> DataLoader:
    """Every utterance once, longest first; processes take turns at the batches."""
    batches = longest_first(corpus.seconds(), max_duration, rank, world)
    return DataLoader(_Utterances(corpus), sampler=_Numbered(batches), batch_size=None)
