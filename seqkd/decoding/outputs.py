"""What a trained model gives for a set, and the search for hypotheses in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from seqkd.data.batches import evaluation_batches, load_corpus
from seqkd.data.tokens import Tokenizer
from seqkd.decoding.greedy import greedy_decode
from seqkd.decoding.prefix_beam import prefix_beam_search
from seqkd.decoding.word_beam import WordSearch, word_beam_search
from seqkd.errors import DataError
from seqkd.models.ctc import CtcModel


@dataclass(frozen=True)
class BatchOutputs:
    """The outputs of a model for a batch, on the CPU: ``logits`` (B, T, C), ``lengths`` (B,)."""

    ids: list[str]
    logits: Tensor
    lengths: Tensor


@torch.no_grad()
def outputs(
    model: CtcModel, tokenizer: Tokenizer, data: Path, name: str, max_duration: float, gpu: bool
) -> Iterator[BatchOutputs]:
    """Run a model over a set, batch by batch. Raises DataError when the set's features are not the model's."""
    device = torch.device("cuda" if gpu else "cpu")
    model.to(device)
    corpus = load_corpus(data, [], tokenizer, unlabelled=[name])
    if corpus.store.settings != model.features:
        raise DataError(f"{data / name} has features {corpus.store.settings}, the model {model.features}")
    for batch in evaluation_batches(corpus, max_duration):
        output = model(batch.features.to(device), batch.feature_lengths.to(device))
        yield BatchOutputs(batch.ids, output.logits.float().cpu(), output.lengths.cpu())


def best_tokens(batch: BatchOutputs, beam: int, search: WordSearch | None, blank_penalty: float) -> list[list[int]]:
    """The best hypothesis of each utterance, in units: greedy for ``beam`` 1, of a lexicon's words with ``search``."""
    if search is None and beam == 1:
        return greedy_decode(batch.logits, batch.lengths, blank_penalty=blank_penalty)
    if search is None:
        found = prefix_beam_search(batch.logits, batch.lengths, beam_size=beam, blank_penalty=blank_penalty)
    else:
        found = word_beam_search(batch.logits, batch.lengths, search, blank_penalty=blank_penalty)
    return [hypotheses[0].tokens if hypotheses else [] for hypotheses in found]
