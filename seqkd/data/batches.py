"""Data directories to batches.

Letters: B batch, T frames, F feature bins, S units.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from seqkd.data.features import FeatureStore, data_fingerprint, finished_features
from seqkd.data.kaldi import read_data_dir
from seqkd.data.sampling import StepSampler, longest_first
from seqkd.data.tokens import Tokenizer
from seqkd.errors import DataError
from seqkd.models.layers import subsampled_length


@dataclass
class Batch:
    """Padded utterances and their transcripts.

    ``features`` (B, T, F), ``feature_lengths`` (B,), ``targets`` (B, S), ``target_lengths`` (B,), ``labelled`` (B,).
    """

    ids: list[str]
    features: Tensor
    feature_lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    labelled: Tensor


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
        if data_fingerprint(utterances) != finished_features(data / name)["data"]:
            raise DataError(f"{data / name} has changed since its features were made; run stage 1 again")
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
    """Turns a list of utterance ids into a Batch."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus

    def __getitem__(self, ids: list[str]) -> Batch:
        features = [self.corpus.store[u] for u in ids]
        targets = [torch.tensor(self.corpus.targets[u], dtype=torch.long) for u in ids]
        return Batch(
            ids=ids,
            features=torch.nn.utils.rnn.pad_sequence(features, batch_first=True),
            feature_lengths=torch.tensor([len(x) for x in features]),
            targets=torch.nn.utils.rnn.pad_sequence(targets, batch_first=True),
            target_lengths=torch.tensor([len(x) for x in targets]),
            labelled=torch.tensor([self.corpus.transcripts[u] is not None for u in ids]),
        )


def training_batches(corpus: Corpus, sampler: StepSampler, workers: int) -> DataLoader:
    """Yield one Batch an update."""
    return DataLoader(_Utterances(corpus), sampler=sampler, batch_size=None, num_workers=workers)


def evaluation_batches(corpus: Corpus, max_duration: float, rank: int = 0, world: int = 1) -> DataLoader:
    """Every utterance once, longest first; processes take turns at the batches."""
    batches = longest_first(corpus.seconds(), max_duration, rank, world)
    return DataLoader(_Utterances(corpus), sampler=batches, batch_size=None)
