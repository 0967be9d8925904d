"""Uncertainty-based distillation: what a Bayesian teacher is unsure of sets how much, and how softly, it teaches.

    passes = torch.stack([teacher(x) for _ in range(8)])  # (S, B, T, C), with dropout on
    objective = Objective(loss=UncertaintyKd(beta=0.0))  # cross-entropy with the target is part of it
    student = Outputs(network(x)[None], lengths)
    loss = objective(student, {"teacher": Outputs(passes, lengths)}, labels, reduction="mean")
    loss.total.backward()

Letters: S passes of the teacher, P of the student, B items, T frames or target positions, C classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d

from seqkd.ctc.arguments import check_logits
from seqkd.ctc.frames import at_least_float32, masked_log_softmax
from seqkd.errors import ConfigError
from seqkd.losses.base import kl_divergence, whole
from seqkd.losses.gold import class_weighted, gold_positions, mixed_in, picked
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Labels, Outputs
from seqkd.settings import at_least, between, one_of

REFERENCES = ("dataset", "batch")
SIGNS = (-1, 1)
FACT = "aleatoric"  # in Outputs.facts


class UncertaintyKd(Term):
    """Σ_t (1 − λ w) CE(y, p_S) + λ w τ² KL(p̄^τ ‖ p_S^τ) over valid positions, averaged over the student's passes.

    The teacher's outputs are S passes (S, B, T, C), with dropout drawn anew for each, or the members of an ensemble. p̄
    is their mean, p̄^τ ∝ p̄^(1/τ), p_S^τ = softmax(z_S / τ). With the uncertainties of :func:`uncertainties`, a position
    has the trust and the temperature ::

        w = 1 − U_epi / log C          τ = clip(τ₀ (1 + sign · β (U_ale / log C − reference)), 1, max_temperature)

    neither of which has a gradient. CE is in the term, so that no cross-entropy is put beside it; a position without a
    target has the distillation part alone.

    Notes ``trust`` (the mean of w over valid positions), ``trust_10``, ``trust_50`` and ``trust_90`` (its quantiles: w
    near 1 everywhere makes this ordinary distillation), and ``temperature`` (the mean of τ).

    Args:
        share: λ, from 0 to 1; at 0 the teacher is not read.
        temperature: τ₀, at least 1.
        beta: β, how far the aleatoric uncertainty moves the temperature; 0 leaves τ₀.
        sign: -1 (default): ambiguous positions, which are soft already, have less temperature; 1: they have more.
        max_temperature: at least τ₀.
        reference: "dataset" (default) takes ``facts["aleatoric"]`` of the teacher's outputs, the mean of U_ale / log C
            over its training set; "batch" the mean over this batch, with which the loss of an item depends on the
            others.
        pool: each U_epi is averaged over so many frames on either side, as far as they are valid. Beside CTC it is
            otherwise large wherever passes spike a frame apart; 2 is a start.
        hard: False leaves (1 − λ w) CE out, for use beside CTC.
        **options: ``weight``, ``layer``, ``other_layer``: see :class:`Term`.

    A teacher makes passes with its dropout in training mode and its batch normalisation in evaluation mode. S = 1 has
    U_epi = 0 and w = 1; with ``beta=0`` as well it is ordinary distillation at τ₀.

    Raises:
        ConfigError: with "dataset" and β above 0, a teacher without that fact; labels that are not one a position,
            unless ``hard=False``.
        ValueError: teacher and student differ in (B, T, C).

    Paper: IJAR 2024, 10.1016/j.ijar.2024.109301. Established by its abstract: the teacher's epistemic uncertainty sets
    each sample's supervision, the aleatoric one its temperature; the student is trained with the ground truth as well.
    The paper's exact form is not public. Chosen: the formulas above, the sign, the reference and the pooling.
    """

    source = "teacher"
    several = True

    def __init__(
        self,
        *,
        share: float = 0.9,
        temperature: float = 4.0,
        beta: float = 1.0,
        sign: int = -1,
        max_temperature: float = 20.0,
        reference: str = "dataset",
        pool: int = 0,
        hard: bool = True,
        **options: object,
    ) -> None:
        super().__init__(**options)
        self.share, self.hard = between(0, 1, share=share), bool(hard)
        self.temperature, self.beta = at_least(1, temperature=temperature), at_least(0, beta=beta)
        self.max_temperature = at_least(self.temperature, max_temperature=max_temperature)
        self.sign, self.reference = one_of(SIGNS, sign=sign), one_of(REFERENCES, reference=reference)
        self.pool = whole(0, pool=pool)
        if self.share == 0 and not self.hard:
            raise ConfigError("share is 0 and hard is False, which leaves nothing; expected a share above 0")

    def forward(self, student: Outputs, teacher: Outputs, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,) in nats."""
        mask = student.mask
        trust: Tensor | float = 0.0
        losses = student.log_probs.new_zeros(student.logits.shape[:3])
        if self.share:
            check_passes(teacher.logits, student.logits)
            log_probs, _, aleatoric, epistemic = uncertainties(teacher.log_probs)
            trust = self._trust(epistemic, mask, log_probs.shape[-1])  # (B, T)
            temperature = self._temperature(aleatoric, mask, teacher, log_probs.shape[-1])
            self._note(trust, temperature, mask)
            ours = masked_log_softmax(at_least_float32(student.logits) / temperature[..., None], mask)
            theirs = (log_probs / temperature[..., None]).log_softmax(-1)
            soft = temperature**2 * kl_divergence(theirs, ours)  # (P, B, T)
            losses = (self.share * trust * soft).masked_fill(~mask, 0.0)
        if self.hard:
            targets, valid = gold_positions(labels, student, "UncertaintyKd with hard=True")
            weighted = class_weighted(student.log_probs, labels)
            hard = mixed_in(lambda of: -picked(weighted, of), targets, labels)
            losses = losses + ((1 - self.share * trust) * hard).masked_fill(~valid, 0.0)
        return losses.sum(-1).mean(0)

    def _trust(self, epistemic: Tensor, mask: Tensor, classes: int) -> Tensor:
        if self.pool:
            epistemic = pooled(epistemic, mask, self.pool)
        return (1 - epistemic / _most(classes)).clamp(0.0, 1.0)

    def _temperature(self, aleatoric: Tensor, mask: Tensor, teacher: Outputs, classes: int) -> Tensor:
        if self.beta == 0:
            return torch.full_like(aleatoric, self.temperature)
        aleatoric = aleatoric / _most(classes)
        if self.reference == "batch":
            reference = aleatoric.masked_fill(~mask, 0.0).sum() / mask.sum().clamp(min=1)
        elif FACT in teacher.facts:
            reference = teacher.facts[FACT]
        else:
            raise ConfigError(
                "UncertaintyKd with reference='dataset' needs the teacher's mean aleatoric uncertainty over its "
                f"training set, but facts[{FACT!r}] of the teacher's outputs is not there; store it with them, or "
                "choose reference='batch' or beta=0"
            )
        moved = self.temperature * (1 + self.sign * self.beta * (aleatoric - reference))
        return moved.clamp(1.0, self.max_temperature)

    def _note(self, trust: Tensor, temperature: Tensor, mask: Tensor) -> None:
        mean = lambda values: values.masked_fill(~mask, 0.0).sum() / mask.sum().clamp(min=1)  # noqa: E731
        at = trust.new_tensor([0.1, 0.5, 0.9])
        low, middle, high = trust.masked_fill(~mask, torch.nan).nanquantile(at).nan_to_num()  # 0 for no valid frame
        self.note(trust=mean(trust), trust_10=low, trust_50=middle, trust_90=high, temperature=mean(temperature))


def uncertainties(logits: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What S passes are unsure of, in nats: total H(p̄), aleatoric mean_s H(p_s), epistemic, which is their difference.

    Args:
        logits: (S, ..., C) in any floating dtype, or log-probabilities; -inf is allowed.

    Returns:
        log p̄ (..., C), total (...), aleatoric (...), epistemic (...), which is at least 0: float64 for float64
        logits, else float32. The order of passes does not matter.

    Raises:
        ValueError: no pass.
    """
    if logits.dim() < 2 or len(logits) == 0:
        raise ValueError(f"logits must be (S, ..., C) with at least one pass, got shape {tuple(logits.shape)}")
    log_probs = at_least_float32(logits).log_softmax(-1)
    mean = log_probs.logsumexp(0) - math.log(len(log_probs))
    aleatoric = torch.special.entr(log_probs.exp()).sum(-1).mean(0)
    total = torch.special.entr(mean.exp()).sum(-1)
    return mean, total, aleatoric, (total - aleatoric).clamp(min=0.0)


def pooled(values: Tensor, mask: Tensor, frames: int) -> Tensor:
    """Average values (B, T) over the valid frames of (B, T) that are at most ``frames`` away."""
    mean = lambda x: avg_pool1d(x[:, None], 2 * frames + 1, stride=1, padding=frames)[:, 0]  # noqa: E731
    shares = mean(mask.to(values))
    return mean(values.masked_fill(~mask, 0.0)) / shares.masked_fill(shares == 0, 1.0)


def check_passes(teacher: Tensor, student: Tensor) -> None:
    """Raise ValueError unless the teacher's logits (S, B, T, C) fit the student's (P, B, T, C)."""
    check_logits("teacher_logits", teacher, "SBTC")
    if teacher.shape[1:] != student.shape[1:] or len(teacher) == 0:
        raise ValueError(
            f"teacher_logits {tuple(teacher.shape)} and student_logits {tuple(student.shape)} must have the same "
            "(B, T, C) after their passes: one batch, one frame rate, one vocabulary"
        )


def _most(classes: int) -> float:
    """The greatest entropy: 1 for a single class, whose entropy is 0."""
    return math.log(classes) if classes > 1 else 1.0
