"""CTC for transcripts that are not to be trusted: a star stands for what the transcript has wrong or leaves out.

Letters: B utterances, T frames, C classes, S labels of the longest target, N = 3 (S + 1) states.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqkd.ctc.arguments import CTC_REDUCTIONS, IntSequence, check_choice, check_logits, check_targets
from seqkd.ctc.frames import frame_mask, masked_log_softmax

FAULTS = ("wrong", "missing")
SCORES = ("mean", "sum")


def star_ctc_loss(
    logits: Tensor,
    targets: IntSequence,
    input_lengths: IntSequence,
    target_lengths: IntSequence,
    *,
    fault: str = "wrong",
    penalty: float = 0.0,
    score: str | None = None,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """CTC with a star ★, whose score on a frame is log(mean or sum of p over labels) − ``penalty``.

    - ``fault="wrong"`` (default), Bypass Temporal Classification: ★ may be read in the place of any label, for
      transcripts with words that were not said, or others than were.
    - ``fault="missing"``, star-temporal classification: ★ may be read, any number of times, before, between and after
      labels, for transcripts that leave words out.

    ★ follows CTC's rules as a label does: two of them one after the other need a blank between. Sums over alignments,
    without a norm. A penalty of inf is CTC itself. It usually begins large and becomes smaller, or the other way round;
    both papers anneal it.

    A dynamic programme in torch's operations (float32 at least, float64 for float64 logits), on any device, with
    gradients of every order; some hundred times the time of :func:`seqkd.ctc.ctc_loss`.

    Args:
        logits: (B, T, C).
        targets: as in :func:`seqkd.ctc.ctc_loss`, and so lengths, ``blank``, ``reduction`` and ``zero_infinity``.
        input_lengths: (B,).
        target_lengths: (B,).
        fault: what the transcripts' faults are: "wrong" or "missing".
        penalty: nats, from 0 to inf.
        score: of ★ over the C − 1 labels: "mean" of their probabilities (default for "wrong"), "sum" (for "missing").
        blank: class of the blank.
        reduction: "mean", "sum", "none" or "batchmean".
        zero_infinity: an utterance that cannot be aligned gives 0 instead of inf; its gradient is zero either way.

    Returns:
        A scalar, or (B,) for "none".

    Raises:
        ValueError: as :func:`seqkd.ctc.ctc_loss`; a penalty below 0, an unknown fault or score.

    Papers: Gao et al., "Bypass Temporal Classification", Interspeech 2023, arXiv 2306.01031; Pratap et al., "Star
    Temporal Classification", NeurIPS 2022, arXiv 2201.12208. Chosen, as their graphs were not at hand: the states
    below; ★ includes the label that comes next.
    """
    check_logits("logits", logits, "BTC")
    check_choice("fault", fault, FAULTS)
    score = score or ("mean" if fault == "wrong" else "sum")
    check_choice("score", score, SCORES)
    check_choice("reduction", reduction, CTC_REDUCTIONS)
    if not penalty >= 0:
        raise ValueError(f"penalty must be from 0 to inf, got {penalty}")
    targets, frames, labels = check_targets(logits, targets, input_lengths, target_lengths, blank=blank)
    frames, labels = frames.to(logits.device), labels.to(logits.device)
    log_probs = masked_log_softmax(logits, frame_mask(frames, logits.shape[1], logits.device))
    others = torch.arange(logits.shape[-1], device=logits.device) != blank
    star = log_probs[..., others].logsumexp(-1) - penalty  # (B, T)
    if score == "mean":
        star = star - math.log(max(int(others.sum()), 1))
    losses = _nll(log_probs, star, targets, frames, labels, blank, fault)
    impossible = losses.isposinf()
    # A factor would make NaN of inf.
    losses = losses.masked_fill(impossible, 0.0 if zero_infinity else torch.inf)
    if reduction == "none":
        return losses
    if reduction == "mean":
        losses = losses / labels.clamp(min=1).to(losses)
    return losses.sum() / (1 if reduction == "sum" else max(len(losses), 1))


def _nll(
    log_probs: Tensor, star: Tensor, targets: Tensor, frames: Tensor, labels: Tensor, blank: int, fault: str
) -> Tensor:
    """(B,). Position i has three states: blank 3i, label 3i + 1, and ★ 3i + 2, which stands beside the label ("wrong")
    or before it, as the blank does ("missing"); the position behind the last label has no label.
    """
    (batch, time, _), count = log_probs.shape, targets.shape[1]
    device = log_probs.device
    emitted = torch.stack(
        [
            log_probs[..., blank, None].expand(-1, -1, count + 1),
            torch.nn.functional.pad(log_probs.gather(2, targets[:, None].expand(-1, time, -1)), (0, 1)),
            star[..., None].expand(-1, -1, count + 1),
        ],
        -1,
    ).flatten(2)  # (B, T, N)
    at = torch.arange(3 * (count + 1), device=device)
    kind, position = at % 3, at // 3
    different = torch.nn.functional.pad(targets[:, 1:] != targets[:, :-1], (1, 1), value=True)  # (B, S + 1)
    different = different[:, position]
    last = labels[:, None]
    exists = (position <= last) & ~((kind == 1) & (position == last))
    if fault == "wrong":
        exists = exists & ~((kind == 2) & (position == last))
        moves = [  # by how many states, and which may be reached so
            (2, kind == 0),  # label before -> blank
            (1, kind == 0),  # ★ before -> blank
            (1, kind == 1),  # blank -> label
            (3, (kind == 1) & different),  # label before -> label
            (2, kind == 1),  # ★ before -> label
            (2, kind == 2),  # blank -> ★
            (4, kind == 2),  # label before -> ★
        ]
        begins = exists & (position == 0)
        ends = (position == last) & (kind == 0) | (position == last - 1) & (kind > 0)
    else:
        moves = [
            (-2, kind == 0),  # ★ of this position -> blank
            (2, kind == 0),  # label before -> blank
            (1, kind == 1),  # blank -> label
            (-1, kind == 1),  # ★ of this position -> label
            (3, (kind == 1) & different),  # label before -> label
            (2, kind == 2),  # blank -> ★
            (4, kind == 2),  # label before -> ★
        ]
        begins = exists & (position == 0)
        ends = (position == last) & (kind != 1) | (position == last - 1) & (kind == 1)
    nothing = -torch.inf
    empty = torch.zeros(batch, len(at), dtype=log_probs.dtype, device=device)

    def sources(alpha: Tensor) -> Tensor:
        found = [alpha]
        for by, may in moves:
            moved = torch.nn.functional.pad(alpha, (max(by, 0), max(-by, 0)), value=nothing)
            moved = moved[:, : alpha.shape[1]] if by > 0 else moved[:, -by:]
            found.append(moved.masked_fill(~may, nothing))
        return _logsumexp(torch.stack(found), 0)

    # Without frames, only an empty target can have been read: as if its blank had been.
    alpha = empty.masked_fill(~((labels == 0)[:, None] & (at == 0)), nothing)
    for t in range(time):
        came = empty.masked_fill(~begins, nothing) if t == 0 else sources(alpha)
        moved = (came + emitted[:, t]).masked_fill(~exists, nothing)
        alpha = torch.where((t < frames)[:, None], moved, alpha)
    return -_logsumexp(alpha.masked_fill(~ends, nothing), 1)


def _logsumexp(x: Tensor, dim: int) -> Tensor:
    """Like torch's, but where all is -inf the gradient is 0, not NaN."""
    impossible = x.isneginf().all(dim)
    return x.masked_fill(impossible.unsqueeze(dim), 0.0).logsumexp(dim).masked_fill(impossible, -torch.inf)
