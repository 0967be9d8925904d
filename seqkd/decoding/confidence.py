"""How sure a CTC model is of each word that it decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


@torch.no_grad()
def token_confidences(logits: Tensor, tokens: Sequence[int], *, blank: int = 0) -> list[float]:
    """Return the probability of each decoded token: the highest of its frames on the best alignment.

    Args:
        logits: (T, C) of one utterance, without padding; any device.
        tokens: what was decoded, by any search.
        blank: index of the blank.
    """
    if not tokens:
        return []
    from torchaudio.functional import forced_align

    log_probs = logits.float().log_softmax(-1).cpu()[None]  # (1, T, C)
    path, scores = forced_align(log_probs, torch.tensor([list(tokens)], dtype=torch.int32), blank=blank)
    best: list[float] = []
    last = blank
    for token, score in zip(path[0].tolist(), scores[0].tolist(), strict=True):
        if token != blank:
            if token == last:
                best[-1] = max(best[-1], score)
            else:
                best.append(score)
        last = token
    return torch.tensor(best).exp().clamp(max=1.0).tolist()


def word_confidences(
    tokens: Sequence[int], confidences: Sequence[float], decode: Callable[[Sequence[int]], str]
) -> list[float]:
    """Return the confidence of each word: the product of its tokens', as if they were independent.

    Args:
        tokens: a decoded sequence.
        confidences: one a token.
        decode: turns tokens into text; the word a token belongs to is the last one of the text up to it.
    """
    words = [1.0] * len(decode(tokens).split())
    for position, confidence in enumerate(confidences):
        word = len(decode(tokens[: position + 1]).split()) - 1
        if 0 <= word < len(words):
            words[word] *= confidence
    return words
