"""Distillation from posteriors of which only a part was kept: what a book stores of a teacher's outputs.

Letters: B sentences or utterances, S target positions, T frames, C classes, K kept classes, N valid positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from seqkd.ctc.arguments import IntSequence, check_choice, check_logits, check_targets
from seqkd.ctc.frames import at_least_float32
from seqkd.ctc.transforms import readable, tracing
from seqkd.losses.base import DistillationLoss, check_distance, divergence_terms, with_value
from seqkd.losses.ctc import Ctc
from seqkd.losses.objective import Term, weigh
from seqkd.losses.outputs import IGNORE, Labels, Outputs
from seqkd.losses.tokens import ValidPositions, rows_of

TAILS = ("spread", "ghost", "renormalise")

CHUNK = 1 << 20  # elements of what is computed at a time where the value of a tail is


@dataclass(frozen=True)
class SparsePosteriors:
    """Posteriors of which K classes a position were kept. ``...`` is any shape, such as (B, S) or (T,).

    Attributes:
        classes: (..., K) int64, each class at most once a position; -1 where there are fewer than K.
        probs: (..., K) their probabilities; what stands beside -1 does not matter.
        tail: (...) the probability of all other classes together: probabilities and tail add up to 1. 0 for counts.
        entropy: (...) of the whole posterior in nats, where it is known.
    """

    classes: Tensor
    probs: Tensor
    tail: Tensor
    entropy: Tensor | None = None

    @classmethod
    def of_counts(cls, classes: Tensor, counts: Tensor, entropy: Tensor | None = None) -> SparsePosteriors:
        """From how often each of the classes (..., K) was drawn, (..., K): probabilities c / N.

        With draws from the posterior t, E[c / N] = t, so that the gradient of the divergence is that of t on average.
        """
        counts = at_least_float32(counts.masked_fill(classes < 0, 0).to(torch.get_default_dtype()))
        return cls(classes, counts / counts.sum(-1, keepdim=True), counts.new_zeros(counts.shape[:-1]), entropy)

    def map(self, function: Callable[[Tensor], Tensor]) -> SparsePosteriors:
        """Apply a function, such as one that takes rows or moves to a device, to every tensor."""
        entropy = None if self.entropy is None else function(self.entropy)
        return SparsePosteriors(function(self.classes), function(self.probs), function(self.tail), entropy)


def sparse_kd_loss(
    logits: Tensor,
    book: SparsePosteriors,
    *,
    valid: Tensor | None = None,
    temperature: float = 1.0,
    tail: str = "spread",
    reduction: str = "mean",
) -> Tensor:
    """Distillation from what was kept of a posterior, τ² KL(t ‖ p^τ), without a target of C classes.

    With the kept classes K and their probabilities t, and p for p^τ = softmax(z / τ), ``tail`` is what stands for
    the other classes, whose probability is 1 − Σt:

    - "spread" (default): evenly spread over them, as FKD does: (1 − Σt) [log((1 − Σt) / (C − |K|)) − mean of their
      log p] is added to Σ_K t log(t / p).
    - "ghost": one more class on both sides: (1 − Σt) log[(1 − Σt) / (1 − Σp)] is added.
    - "renormalise": the others get nothing, and t / Σt takes the place of t. **Biased**: it makes the teacher
      surer than it was; t = (.5, .3, .1, .1) cut after two classes teaches (.625, .375).

    Counts (a tail of 0) need none of them. Their gradient is right on average; their value is too great by the mean
    of H(t) − H(c / N), which does not depend on the student.

    Args:
        logits: (B, S, C) of the student.
        book: classes (B, S, K), made at temperature τ; gets no gradient.
        valid: (B, S) bool, None for all; what stands where it is False changes nothing.
        temperature: τ.
        tail: "spread", "ghost" or "renormalise".
        reduction: "mean" averages over valid positions, "sum" adds them up, "batchmean" divides that sum by B, as
            terms beside CTC are, "none" gives (B, S), 0 where not valid.

    Returns:
        A scalar, or (B, S). Float64 for float64 logits, else float32.

    Raises:
        ValueError: shapes that do not fit, a class outside [0, C), a temperature that is not positive, an unknown
            option.

    Sources: FKD (tail spread), ECCV 2022, arXiv 2112.01528; sparse logit sampling (bias of renormalised top-k, ghost
    class, unbiased counts), ACL 2025, arXiv 2503.16870.
    """
    check_logits("logits", logits, "BSC")
    check_choice("reduction", reduction, ("mean", "sum", "batchmean", "none"))
    check_choice("tail", tail, TAILS)
    check_distance("kl", temperature)
    check_sparse(book, logits)
    valid = torch.ones(logits.shape[:2], dtype=torch.bool) if valid is None else torch.as_tensor(valid)
    if valid.dtype != torch.bool or valid.shape != logits.shape[:2]:
        raise ValueError(f"valid must be bool (B, S) = {tuple(logits.shape[:2])}, got {tuple(valid.shape)}")
    marks = torch.zeros(valid.shape, dtype=torch.int64).masked_fill(~valid.cpu(), IGNORE)
    summed = "sum" if reduction == "batchmean" else reduction
    tokens = ValidPositions.of(logits, marks, ignore_index=IGNORE, reduction=summed)
    student = tokens.log_softmax(logits, temperature)  # (N, C)
    losses = temperature**2 * sparse_divergence(student, book.map(lambda x: rows_of(tokens, x)), tail)
    return tokens.reduce(losses) / (max(len(logits), 1) if reduction == "batchmean" else 1)


def sparse_ctc_kd_loss(
    student_logits: Tensor,
    book: SparsePosteriors,
    targets: IntSequence,
    input_lengths: IntSequence,
    target_lengths: IntSequence,
    *,
    kd_weight: float,
    ctc_weight: float = 1.0,
    temperature: float = 1.0,
    tail: str = "spread",
    adjust: bool = False,
    blank: int = 0,
    labelled: IntSequence | None = None,
    zero_infinity: bool = False,
    reduction: str = "mean",
) -> DistillationLoss:
    """CTC, and at each frame :func:`sparse_kd_loss`: ctc_weight · CTC + kd_weight · Σ_t w_t τ² KL(t_t ‖ p_t^τ).

    Args:
        student_logits: (B, T, C).
        book: classes (B, T, K), made at temperature τ.
        targets: (B, S) padded, or 1-D joined.
        input_lengths: (B,) valid frames; what stands in padded ones changes nothing.
        target_lengths: (B,).
        kd_weight: weight of the distillation term; 0 removes it.
        ctc_weight: weight of CTC.
        temperature: τ.
        tail: as in :func:`sparse_kd_loss`.
        adjust: True weighs a frame by w = 1 − H / log C, as :func:`book_kd_loss` does; False (default) is w = 1.
        blank: class of the blank.
        labelled: (B,) bool; False for an utterance without a transcript, whose CTC is 0.
        zero_infinity: as in :func:`seqkd.losses.ctc_loss`.
        reduction: "none" gives (B,), "sum" adds utterances up, "mean" divides all terms by B.

    Returns:
        The total and its unweighted terms ``ctc`` and ``kd``, as :func:`seqkd.losses.ctc_kd_loss`, whose value with
        distance "kl" this is for a book of all classes.

    Raises:
        ValueError: shapes that disagree, a length, label or class out of range, an unknown option.
    """
    check_logits("student_logits", student_logits, "BTC")
    check_sparse(book, student_logits)
    terms = {
        "ctc": (Ctc(zero_infinity=zero_infinity), ctc_weight),
        "kd": (_SparseKd(book, temperature=temperature, tail=tail, adjust=adjust), kd_weight),
    }
    options = {"blank": blank, "labelled": labelled}
    targets, frames, lengths = check_targets(student_logits, targets, input_lengths, target_lengths, **options)
    labelled = None if labelled is None else torch.as_tensor(labelled, dtype=torch.bool)
    student = Outputs(student_logits[None], frames)
    return weigh(terms, student, {}, Labels(targets, lengths, labelled, blank), reduction)


class _SparseKd(Term):
    """Σ_t w_t τ² KL(t_t ‖ p_t^τ) against a sparse book (B, T, K)."""

    def __init__(self, book: SparsePosteriors, *, temperature: float, tail: str, adjust: bool) -> None:
        super().__init__()
        check_choice("tail", tail, TAILS)
        check_distance("kl", temperature)
        self.book, self.temperature, self.tail, self.adjust = book, temperature, tail, adjust

    def forward(self, student: Outputs, other: None, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        mask = student.mask
        ours = student.tempered(self.temperature)[0]
        if tracing():  # then nothing may depend on how many frames are valid
            ours = ours.flatten(0, 1)  # (B·T, C)
            rows = self.book.map(lambda x: _zeroed(x.detach().to(mask.device), mask).flatten(0, 1))
        else:
            ours = ours[mask]  # (N, C)
            rows = self.book.map(lambda x: x.detach().to(mask.device)[mask])
        losses = self.temperature**2 * sparse_divergence(ours, rows, self.tail)
        if self.adjust:
            losses = losses * trust_of(entropy_of(rows, ours.shape[-1], ours.dtype), ours.shape[-1])
        if tracing():
            return losses.view(mask.shape).masked_fill(~mask, 0.0).sum(-1)
        return losses.new_zeros(mask.shape).masked_scatter(mask, losses).sum(-1)


def _zeroed(x: Tensor, mask: Tensor) -> Tensor:
    """Return values (B, T, ...), with 0 where ``mask`` (B, T) is False."""
    return x.masked_fill(~mask.view(*mask.shape, *[1] * (x.dim() - 2)), 0)


def sparse_divergence(log_probs: Tensor, book: SparsePosteriors, tail: str = "spread") -> Tensor:
    """KL(t ‖ p) at each position, where t is ``book`` with its tail as in :func:`sparse_kd_loss`.

    Args:
        log_probs: (N, C) of the student, normalised.
        book: classes (N, K).
        tail: "spread", "ghost" or "renormalise".

    Returns:
        (N,).

    Raises:
        ValueError: a class outside [0, C).
    """
    classes = log_probs.shape[-1]
    if readable(book.classes) and book.classes.numel():
        least, most = int(book.classes.min()), int(book.classes.max())
        if least < -1 or most >= classes:
            raise ValueError(
                f"book.classes are from {least} to {most}, outside [0, {classes}) and -1 for none: another vocabulary"
            )
    kept = book.classes >= 0
    t = book.probs.to(log_probs.dtype).masked_fill(~kept, 0.0)  # (N, K)
    rest = book.tail.to(log_probs.dtype)  # (N,)
    if tail == "renormalise":
        total = t.sum(-1, keepdim=True).clamp(min=torch.finfo(t.dtype).tiny)
        t, rest = t / total, torch.zeros_like(rest)
    log_p = log_probs.gather(-1, book.classes.clamp(min=0)).masked_fill(~kept, 0.0)
    divergence = (torch.special.xlogy(t, t) - t * log_p.masked_fill(t == 0, 0.0)).sum(-1)
    others = classes - kept.sum(-1)
    # Where every class was kept, a tail is rounding.
    some = (rest > 0) & (others > 0)
    room = book.classes.masked_fill(~kept, classes)  # one column more takes the classes -1
    log_t = t.detach().log()
    if tail == "renormalise" or (readable(some) and not some.any()):
        plain, log_share, log_rest = divergence, torch.full_like(rest, -math.inf), None
    elif tail == "spread":
        count = others.clamp(min=1)
        log_share = (rest.where(some, 1.0) / count).log()
        term = rest * (log_share - _sum_of_others(log_probs, log_p, room) / count)
        plain, log_rest = divergence + term.where(some, 0.0), None
        log_share = log_share.detach().masked_fill(~some, -math.inf)
    else:
        padded = torch.nn.functional.pad(log_probs, (0, 1), value=-math.inf).scatter(-1, room, -math.inf)
        # Without other classes there is no logarithm to take; its gradient would be NaN.
        log_rest = padded.masked_fill(~some[:, None], 0.0).logsumexp(-1)
        term = rest * (rest.where(some, 1.0).log() - log_rest)
        plain, log_share = divergence + term.where(some, 0.0), None
        log_rest = log_rest.detach().masked_fill(~some, -math.inf)
    with torch.no_grad():
        exact = divergence_terms(log_t, log_p.masked_fill(~kept, -math.inf)).sum(-1)
        if log_rest is not None:
            exact = exact + divergence_terms(rest.masked_fill(~some, 0.0).log(), log_rest)
        else:
            exact = exact + _spread(log_share, room, log_probs)
    return with_value(plain, exact)


def _sum_of_others(log_probs: Tensor, kept: Tensor, taken: Tensor) -> Tensor:
    """Sum the log-probabilities (N, C) of classes that are not ``taken`` (N, K; C is for none), which have ``kept``."""
    if readable(kept) and not kept.isinf().any():
        return log_probs.sum(-1) - kept.sum(-1)
    # A kept class that the student masks: −inf less −inf would be NaN.
    return torch.nn.functional.pad(log_probs, (0, 1)).scatter(-1, taken, 0.0)[..., :-1].sum(-1)


def _spread(log_share: Tensor, taken: Tensor, log_probs: Tensor) -> Tensor:
    """Return the divergence (N,) of an even spread from (N, C), over the classes that are not ``taken`` (N, K);

    C is for none.

    A part of the rows at a time, so that nothing of the size of the logits is made.
    """
    found = []
    width = log_probs.shape[-1]
    parts = (x.split(max(1, CHUNK // width)) for x in (log_share, taken, log_probs))
    for share, out, rows in zip(*parts, strict=True):
        log_u = share[:, None].expand(-1, width + 1).scatter(-1, out, -math.inf)[:, :width]
        left = torch.nn.functional.pad(rows, (0, 1)).scatter(-1, out, -math.inf)[:, :width]
        found.append(divergence_terms(log_u, left).sum(-1))
    return torch.cat(found) if found else log_share.new_zeros(0)


def densify(book: SparsePosteriors, classes: int, tail: str = "spread", *, log: bool = False) -> Tensor:
    """Turn the (..., K) of ``classes`` into probabilities (..., C), with the tail spread evenly or left out.

    Args:
        book: kept classes (..., K).
        classes: C.
        tail: "spread", or "renormalise", which leaves the tail out.
        log: True gives log-probabilities, bit for bit the logarithm of the probabilities, of which only the kept
            and one a row are taken.

    Returns:
        (..., C) in the book's dtype, on its device.

    Raises:
        ValueError: another tail.
    """
    check_choice("tail", tail, ("spread", "renormalise"))
    kept = book.classes >= 0
    probs = book.probs.masked_fill(~kept, 0.0)
    if tail == "renormalise":
        share = torch.zeros_like(book.tail)
        probs = probs / probs.sum(-1, keepdim=True)
    else:
        share = book.tail / (classes - kept.sum(-1)).clamp(min=1)
    if log:
        share, probs = share.log(), probs.log()
    room = share[..., None].expand(*share.shape, classes + 1)  # one column more takes the classes -1
    return room.scatter(-1, book.classes.masked_fill(~kept, classes), probs)[..., :classes]


def entropy_of(book: SparsePosteriors, classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the entropy (...) in nats: the stored one, else that of the posterior with its tail spread over the other
    classes.

    In ``dtype``, float32 at least, whatever the book was stored in.
    """
    dtype = torch.promote_types(dtype, torch.float32)
    if book.entropy is not None:
        return book.entropy.to(torch.promote_types(book.entropy.dtype, dtype))
    dtype = torch.promote_types(book.probs.dtype, dtype)
    kept = book.classes >= 0
    others = classes - kept.sum(-1)
    rest = book.tail.to(dtype).masked_fill(others == 0, 0.0)
    spread = torch.special.entr(rest) + torch.special.xlogy(rest, others.to(dtype))
    return torch.special.entr(book.probs.to(dtype).masked_fill(~kept, 0.0)).sum(-1) + spread


def trust_of(entropy: Tensor, classes: int) -> Tensor:
    """BookKD's w = 1 − H / log C of entropies (...), in nats."""
    # Rounding may leave the interval by a hair.
    return (1 - entropy / math.log(classes)).clamp(0.0, 1.0)


def check_sparse(book: SparsePosteriors, logits: Tensor) -> None:
    """Raise ValueError unless ``book`` fits logits (B, S, C) in shape."""
    shape = tuple(logits.shape[:2])
    if book.classes.ndim != 3 or tuple(book.classes.shape[:2]) != shape or book.classes.is_floating_point():
        raise ValueError(
            f"book.classes must be integers (B, S, K) with (B, S) = {shape}, got {tuple(book.classes.shape)} of "
            f"{book.classes.dtype}"
        )
    if book.probs.shape != book.classes.shape:
        raise ValueError(f"book.probs must be {tuple(book.classes.shape)}, got {tuple(book.probs.shape)}")
    for name in ("tail", "entropy"):
        value = getattr(book, name)
        if value is not None and tuple(value.shape) != shape:
            raise ValueError(f"book.{name} must be (B, S) = {shape}, got {tuple(value.shape)}")
