"""CTC prefix beam search."""

# Our own: torchaudio's CPU decoder needs the separate flashlight-text package, its other one needs a GPU.

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seqkd.decoding.inputs import check_logits, penalised
from seqkd.errors import ConfigError


@dataclass(frozen=True)
class CtcHypothesis:
    """One entry of an n-best list.

    Attributes:
        tokens: token indices, without blanks.
        score: natural logarithm of the sequence's probability, summed over its alignments in the beam.
    """

    tokens: list[int]
    score: float


@torch.no_grad()
def prefix_beam_search(
    logits: Tensor,
    input_lengths: Tensor,
    *,
    blank: int = 0,
    blank_penalty: float = 0.0,
    beam_size: int = 8,
    token_min_logp: float = -10.0,
) -> list[list[CtcHypothesis]]:
    """Search for the most probable token sequences, each summed over its alignments.

    The algorithm is that of Hannun et al. (arXiv:1408.2873), without a language model.

    Args:
        logits: (B, T, C), unnormalised scores or log-probabilities (softmax is taken in float64); any device.
        input_lengths: (B,), valid frames; what lies beyond them is ignored.
        blank: index of the blank.
        blank_penalty: subtracted from the blank's logit; 0 (default) for none.
        beam_size: prefixes kept after each frame, and the most hypotheses returned for an utterance.
        token_min_logp: in each frame, only classes whose natural log-probability reaches this extend a prefix
            (the best class always does). ``-math.inf`` switches it off: with a large beam, scores are exact.

    Returns:
        For each of B utterances its hypotheses, best first, at least one; only ``[]`` for one without frames.

    Raises:
        ConfigError: shapes, lengths, blank, its penalty or ``beam_size`` make no sense.
        DataError: a valid frame holds NaN or no finite best class.
    """
    if beam_size < 1:
        raise ConfigError(f"beam_size must be at least 1, but is {beam_size}.")
    lengths = check_logits(logits, input_lengths, blank)
    probs = penalised(logits.double(), blank, blank_penalty).softmax(dim=-1).cpu().numpy()  # (B, T, C)
    threshold = math.exp(token_min_logp)
    return [
        _search(frames[:length], blank, beam_size, threshold) for frames, length in zip(probs, lengths, strict=True)
    ]


def _search(probs: np.ndarray, blank: int, beam_size: int, threshold: float) -> list[CtcHypothesis]:
    """Search one utterance; ``probs`` is (T, C)."""
    # Linear probabilities, rescaled after each frame to 1 for the best prefix: what underflows in float64
    # beside that one would survive no beam, and the inner loop takes no logarithm.
    # A prefix has two: of its alignments that end in a blank, and of those that end in its last token.
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (1.0, 0.0)}
    log_scale = 0.0
    for frame in probs:  # (C,)
        p_blank_now = float(frame[blank])
        extensions = _extensions(frame, blank, threshold)
        ending_in_blank: dict[tuple[int, ...], float] = defaultdict(float)
        ending_in_token: dict[tuple[int, ...], float] = defaultdict(float)
        for prefix, (p_blank, p_token) in beam.items():
            p_prefix = p_blank + p_token
            last = prefix[-1] if prefix else None
            ending_in_blank[prefix] = p_prefix * p_blank_now
            if last is not None:
                ending_in_token[prefix] += p_token * float(frame[last])  # the last token lasts one more frame
            for token, p in extensions:
                # The last token anew needs a blank in between, or else it would merge with the one before.
                ending_in_token[(*prefix, token)] += (p_blank if token == last else p_prefix) * p
        totals = (
            (ending_in_blank[prefix] + ending_in_token[prefix], prefix)
            for prefix in {**ending_in_blank, **ending_in_token}
        )
        kept = heapq.nlargest(beam_size, (entry for entry in totals if entry[0] > 0))
        best = kept[0][0]
        log_scale += math.log(best)
        beam = {prefix: (ending_in_blank[prefix] / best, ending_in_token[prefix] / best) for _, prefix in kept}
    return [CtcHypothesis(list(prefix), log_scale + math.log(sum(p))) for prefix, p in beam.items()]


def _extensions(frame: np.ndarray, blank: int, threshold: float) -> list[tuple[int, float]]:
    """Return the (token, probability) pairs worth adding to a prefix in this frame, of shape (C,)."""
    kept = frame >= threshold
    kept[frame.argmax()] = True
    kept[blank] = False
    tokens = np.flatnonzero(kept)
    return list(zip(tokens.tolist(), frame[tokens].tolist(), strict=True))
