"""What every distillation objective shares: its result, and checks.

Letters: P passes, B utterances, T frames, C classes.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from seqkd.ctc.arguments import check_choice, check_logits
from seqkd.ctc.transforms import tracing
from seqkd.errors import ConfigError
from seqkd.settings import at_least

DISTANCES = ("squared", "kl")

CHUNK = 1 << 18  # elements of what is computed at a time: they stay in the cache


@dataclass(frozen=True)
class DistillationLoss:
    """An objective and what it is made of.

    Attributes:
        total: the weighted sum to call ``backward`` on: a scalar, or for reduction "none" (B,), of losses per token
            (B, S).
        terms: each term by name, **unweighted**, in the shape of ``total``. A term whose weight is 0 or whose
            input was not given is absent: it was not computed.
        notes: what terms report besides, such as the mean amount of smoothing, as ``<term>.<name>``: scalars, means.
    """

    total: Tensor
    terms: dict[str, Tensor]
    notes: dict[str, Tensor] = field(default_factory=dict)


def check_teacher(teacher: Tensor, student: Tensor) -> None:
    """Raise ValueError unless the teacher's logits (1 or P, B, T, C) fit the student's (P, B, T, C)."""
    check_logits("teacher_logits", teacher, "PBTC")
    if teacher.shape[1:] == student.shape[1:] and len(teacher) in (1, len(student)):
        return
    dropped = 1 if len(teacher) == 1 else 0
    raise ValueError(
        f"teacher_logits {tuple(teacher.shape[dropped:])} and student_logits {tuple(student.shape[dropped:])} must "
        "have the same (B, T, C): one batch, one frame rate, one vocabulary"
    )


def kl_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p ‖ q), summed over classes; never negative, and exact where p is close to q, in float32 too.

    The plain sum of p log(p/q) has the right gradient. Its value is the difference of large numbers: of 1e-7, which two
    close distributions have, no digit is left. So the value is that of :func:`divergence_terms`.

    Args:
        log_p: (..., C) log-probabilities; -inf is allowed and counts as 0·log 0 = 0.
        log_q: (..., C).

    Returns:
        (...).
    """
    p = log_p.exp()
    plain = (p * (log_p - log_q).masked_fill(p == 0, 0.0)).sum(-1)
    with torch.no_grad():
        exact = _summed_terms(log_p, log_q)
    return with_value(plain, exact)


def _summed_terms(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Sum :func:`divergence_terms` over classes; a part of the rows at a time, so that little memory is needed beside
    them.
    """
    size = max(log_p.numel(), log_q.numel())
    if tracing() or size <= CHUNK or log_p.dim() < 2 or log_p.shape[-2:] != log_q.shape[-2:]:
        return divergence_terms(log_p, log_q).sum(-1)
    step = max(1, CHUNK * log_p.shape[-2] // size)
    parts = zip(log_p.split(step, -2), log_q.split(step, -2), strict=True)
    return torch.cat([divergence_terms(*part).sum(-1) for part in parts], -1)


def divergence_terms(log_p: Tensor, log_q: Tensor) -> Tensor:
    """p log(p/q) − p + q of each class, from logarithms of any one shape: none is negative.

    Where p is close to q it is the Taylor series in log(q/p), so that small distances keep their digits. Their sum over
    classes is KL(p ‖ q), if both add up to one.
    """
    p, q = log_p.exp(), log_q.exp()
    x = (log_q - log_p).masked_fill(p == 0, 0.0)
    far = q - p - p * x
    x2 = x.square()
    near = p * x2 * (1 / 2 + x * (1 / 6) + x2 * (1 / 24 + x * (1 / 120) + x2 * (1 / 720)))
    close = 1e-2 if x.dtype == torch.float64 else 0.25  # the next term of the series is below the last digit
    return torch.where((x.abs() < close) & (p > 0), near, far)


def with_value(plain: Tensor, exact: Tensor) -> Tensor:
    """The value of ``exact`` with the gradient of ``plain``. Not below 0 where ``exact`` is not."""
    correction = (exact - plain).detach()
    return plain + torch.where(correction.isfinite(), correction, torch.zeros_like(correction))


def check_distance(distance: str, temperature: float) -> None:
    """Raise ValueError for an unknown distance or a temperature that is not positive."""
    check_choice("distance", distance, DISTANCES)
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be finite and positive, got {temperature}")


def whole(low: int, **values: Any) -> int:
    """Return the value of the one setting named; raise ConfigError unless it is a whole number of ``low`` or more."""
    ((name, value),) = values.items()
    if isinstance(value, float) and not value.is_integer():
        raise ConfigError(f"{name} is {value!r}; expected a whole number, at least {low}")
    return int(at_least(low, **values))


def labelled_only(losses: Tensor, labelled: Tensor | None) -> Tensor:
    """CTC losses (P, B), 0 for utterances without a transcript; ``labelled`` (B,) bool or None for all."""
    if labelled is None:
        return losses
    return losses.masked_fill(~torch.as_tensor(labelled, dtype=torch.bool, device=losses.device), 0.0)
