"""Sentence pairs to batches.

Letters: B sentences, L source tokens, S target positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from seqkd.data.sampling import StepSampler, longest_first
from seqkd.data.tokens import Tokenizer
from seqkd.errors import DataError
from seqkd.stages import again
from seqkd.translation.pairs import SentencePair

BOUNDARY = 0
IGNORE = -100


@dataclass
class TextBatch:
    """Padded sentence pairs.

    ``source`` (B, L) and its ``source_lengths`` (B,); ``inputs`` (B, S), a boundary and the target tokens; ``targets``
    (B, S), the target tokens and a boundary, -100 where there is no position.
    """

    ids: list[str]
    source: Tensor
    source_lengths: Tensor
    inputs: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> TextBatch:
        """Return the batch on another device."""
        tensors = (self.source, self.source_lengths, self.inputs, self.targets)
        return TextBatch(self.ids, *(tensor.to(device) for tensor in tensors))


@dataclass
class TextCorpus:
    """Token sequences by id, without boundaries, and the ids left out because they are too long."""

    sources: dict[str, list[int]]
    targets: dict[str, list[int]]
    over_long: list[str]

    def sizes(self) -> dict[str, float]:
        """The positions each pair takes on its longer side."""
        return {key: float(max(len(self.sources[key]), len(self.targets[key]) + 1)) for key in self.sources}


def encode_pairs(
    pairs: Iterable[SentencePair],
    tokenizer: Tokenizer,
    *,
    max_length: int | None = None,
    written: Mapping[str, list[int]] | None = None,
) -> TextCorpus:
    """Turn pairs into tokens; characters the tokenizer has not seen become its unknown unit.

    Args:
        pairs: any.
        tokenizer: of both sides.
        max_length: the most tokens a side may have; None keeps all.
        written: target tokens to use in place of the pairs' own, by id, such as a teacher's.

    Raises:
        DataError: nothing is left, a source without tokens, or an id that ``written`` lacks.
    """
    corpus = TextCorpus({}, {}, [])
    for pair in pairs:
        source = tokenizer.encode(pair.source, unknown=True)
        if written is not None and pair.id not in written:
            raise DataError(f"pair {pair.id} has no decoded target; {again('book')}")
        target = tokenizer.encode(pair.target, unknown=True) if written is None else written[pair.id]
        if not source:
            raise DataError(f"pair {pair.id} has an empty source; to see which sets have such pairs {again('prepare')}")
        if max_length is not None and max(len(source), len(target)) > max_length:
            corpus.over_long.append(pair.id)
        else:
            corpus.sources[pair.id], corpus.targets[pair.id] = source, target
    if not corpus.sources:
        raise DataError(f"all {len(corpus.over_long)} pairs have more than {max_length} tokens; raise max_length")
    return corpus


class _Pairs(Dataset):
    """Turns a list of ids into a TextBatch."""

    def __init__(self, corpus: TextCorpus) -> None:
        self.corpus = corpus

    def __getitem__(self, ids: list[str]) -> TextBatch:
        sources = [torch.tensor(self.corpus.sources[key]) for key in ids]
        targets = [self.corpus.targets[key] for key in ids]
        return TextBatch(
            ids=ids,
            source=pad_sequence(sources, batch_first=True, padding_value=BOUNDARY),
            source_lengths=torch.tensor([len(source) for source in sources]),
            inputs=pad_sequence(
                [torch.tensor([BOUNDARY, *target]) for target in targets], batch_first=True, padding_value=BOUNDARY
            ),
            targets=pad_sequence(
                [torch.tensor([*target, BOUNDARY]) for target in targets], batch_first=True, padding_value=IGNORE
            ),
        )


def bounded(targets: Tensor, lengths: Tensor, labelled: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs and targets (B, S + 1) of a decoder, as in `TextBatch`, of padded ``targets`` (B, S).

    ``lengths`` (B,) are their tokens; an utterance that is not ``labelled`` (B,) has no position to learn.
    """
    at = torch.arange(targets.shape[1] + 1, device=targets.device)
    inside = at < lengths[:, None]  # (B, S + 1)
    ended = functional.pad(targets, (0, 1)).masked_fill(~inside, BOUNDARY)
    valid = (at <= lengths[:, None]) & labelled[:, None]
    return functional.pad(ended[:, :-1], (1, 0), value=BOUNDARY), ended.masked_fill(~valid, IGNORE)


def training_text(corpus: TextCorpus, sampler: StepSampler, workers: int) -> DataLoader:
    """Return a loader that yields one TextBatch for each update of the sampler."""
    return DataLoader(_Pairs(corpus), sampler=sampler, batch_size=None, num_workers=workers)


def evaluation_text(corpus: TextCorpus, max_tokens: int, rank: int = 0, world: int = 1) -> DataLoader:
    """Every pair once, longest first; processes take turns at the batches."""
    batches = longest_first(corpus.sizes(), max_tokens, rank, world)
    return DataLoader(_Pairs(corpus), sampler=batches, batch_size=None)
