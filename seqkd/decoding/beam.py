"""Beam search for encoder–decoder models, many sentences at once.

Letters: B sentences still being written, K hypotheses each (the beam), C classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seqkd.models.seq2seq import Seq2SeqModel


@dataclass(frozen=True)
class TextHypothesis:
    """What was written for a sentence.

    Attributes:
        tokens: without the boundary.
        confidences: probability the model gave each token.
        end_confidence: probability of the boundary after them; 1 where the greatest length forced it.
        score: log-probability of tokens and boundary over their number to the power of the length penalty.
    """

    tokens: list[int]
    confidences: list[float]
    end_confidence: float
    score: float


@dataclass(frozen=True)
class Partial:
    """A hypothesis being written, its log-probability, and the row of the cache that it continues."""

    tokens: list[int]
    confidences: list[float]
    log_prob: float
    row: int


@torch.no_grad()
def beam_search(
    model: Seq2SeqModel,
    source: Tensor,
    source_lengths: Tensor,
    *,
    beam: int = 4,
    length_penalty: float = 1.0,
    max_ratio: float = 1.5,
    max_extra: int = 10,
) -> list[list[TextHypothesis]]:
    """Find the best target sequences of each source; ``beam`` 1 is greedy search.

    A sentence is done when ``beam`` of its hypotheses have ended; one that ends counts only where it is among the
    ``beam`` best continuations of its step. Log-probabilities are divided by length ** ``length_penalty`` (the
    boundary counts), which 0 turns off (Wu et al. 2016, arXiv:1609.08144, discuss such norms; theirs differs).

    Args:
        model: in eval mode.
        source: (B, L) tokens.
        source_lengths: (B,).
        beam: K.
        length_penalty: exponent of the length.
        max_ratio: a target has at most ``max_ratio`` × its source's tokens + ``max_extra`` ...
        max_extra: ... tokens; there the boundary is forced.

    Returns:
        B lists of up to ``beam`` hypotheses, best score first.
    """
    device = source.device
    longest = [int(max_ratio * length) + max_extra for length in source_lengths.tolist()]
    finished: list[list[TextHypothesis]] = [[] for _ in longest]
    if not finished:
        return []
    alive = list(range(len(longest)))  # the sentence of each group of K rows
    # The K hypotheses are alike at first: one must do.
    written = [[Partial([], [], 0.0 if rank == 0 else -torch.inf, 0) for rank in range(beam)] for _ in alive]
    memory = model.encode(source, source_lengths)  # the hypotheses of a sentence share it
    cache, last = None, torch.full((len(alive) * beam, 1), model.boundary, device=device)
    for length in range(max(longest) + 1):
        logits, cache = model.decode(last, memory, cache)
        log_probs = logits[:, -1].float().log_softmax(-1).unflatten(0, (-1, beam))  # (B, K, C)
        forced = [row for row, sentence in enumerate(alive) if length == longest[sentence]]
        log_probs[forced] = -torch.inf
        log_probs[forced, :, model.boundary] = 0.0
        scores = torch.tensor([[one.log_prob for one in group] for group in written], device=device)
        best = (scores[..., None] + log_probs).flatten(1).topk(2 * beam if log_probs.shape[-1] > 1 else beam)  # (B, 2K)
        chosen = log_probs.flatten(1).gather(1, best.indices).exp()
        ranked = torch.stack([best.values.double(), best.indices.double(), chosen.double()], -1).tolist()
        kept: list[list[Partial]] = []
        still: list[int] = []
        for row, sentence in enumerate(alive):
            going = []
            for rank, (log_prob, index, probability) in enumerate(ranked[row]):
                if log_prob == -torch.inf:
                    break
                parent, token = divmod(int(index), log_probs.shape[-1])
                before = written[row][parent]
                if token != model.boundary:
                    origin = row * beam + parent
                    going.append(Partial([*before.tokens, token], [*before.confidences, probability], log_prob, origin))
                elif rank < beam:
                    score = log_prob / (length + 1) ** length_penalty
                    finished[sentence].append(TextHypothesis(before.tokens, before.confidences, probability, score))
            if going and len(finished[sentence]) < beam:
                # Where fewer than K go on, the first stands in for the others, without a chance.
                spare = replace(going[0], log_prob=-torch.inf)
                kept.append([*going, *[spare] * beam][:beam])
                still.append(sentence)
        if not still:
            break
        rows = torch.tensor([one.row for group in kept for one in group], device=device)
        cache = cache.select(rows)
        if still != alive:
            memory = memory.select(torch.tensor([alive.index(sentence) for sentence in still], device=device))
        last = torch.tensor([[one.tokens[-1]] for group in kept for one in group], device=device)
        written, alive = kept, still
    return [sorted(found, key=lambda one: -one.score)[:beam] for found in finished]
