"""Teacher-free distillation (Tf-KD): a model taught by its own copy, or by a virtual teacher that is never wrong.

Letters: B sentences, S target positions, C classes, N valid positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from seqkd.ctc.arguments import check_choice
from seqkd.errors import ConfigError
from seqkd.losses.base import DistillationLoss, check_distance, divergence_terms, kl_divergence, with_value
from seqkd.losses.gold import gold_positions, mixed_in, picked
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Labels, Outputs
from seqkd.losses.tokens import ValidPositions, check_share
from seqkd.settings import more_than, one_of

VARIANTS = ("paper", "released")
REG_VARIANTS = (*VARIANTS, "printed")


def tf_kd_self_loss(
    logits: Tensor,
    targets: Tensor,
    teacher_logits: Tensor,
    *,
    kd_weight: float,
    temperature: float = 20.0,
    multiplier: float = 1.0,
    variant: str = "paper",
    ignore_index: int = -100,
    reduction: str = "mean",
) -> DistillationLoss:
    """Tf-KD self: a pretrained copy of the model teaches a fresh one: (1 − α) · hard + α · m · kd.

    hard = −log P_y; kd = τ² KL(p_T^τ ‖ p^τ). With any other teacher this is plain word-level distillation, with a
    smaller model's it is Re-KD, and with a poorly trained one De-KD.

    Args:
        logits: (B, S, C) of the student.
        targets: (B, S) classes.
        teacher_logits: (B, S, C) of the pretrained copy; gets no gradient.
        kd_weight: α, from 0 to 1; cross-entropy has the weight 1 − α. Either weight at 0 removes its term. The
            paper has 0.95 for MobileNetV2 on CIFAR-100.
        temperature: τ; the default is the paper's for MobileNetV2.
        multiplier: m.
        variant: "paper" (default) sums KL over classes; "released" divides it by C, as the author code's
            ``KLDivLoss()`` does, for its m (1 to 100).
        ignore_index: positions with this target take part in nothing, whatever the logits hold there.
        reduction: "mean" averages over valid positions, "sum" adds them up, "none" gives (B, S), 0 where not
            valid.

    Returns:
        The total and its terms ``hard`` and ``kd``, before α and m. Float64 for float64 logits, else float32.

    Raises:
        ValueError: shapes or types that do not fit, a target out of range (its place is named), an unknown
            option, a weight outside [0, 1], a temperature or multiplier that is not positive.

    Paper: Yuan et al., CVPR 2020, arXiv 1909.11723; 10.1109/cvpr42600.2020.00396, and its author code. Chosen:
    τ² in both variants, as the code has it.
    """
    tokens = ValidPositions.of(logits, targets, ignore_index=ignore_index, reduction=reduction)
    teacher_logits = tokens.fitting("teacher_logits", teacher_logits)
    _check(kd_weight, temperature, multiplier, variant, VARIANTS)
    log_probs = tokens.log_softmax(logits)  # (N, C)

    def kd() -> Tensor:
        teacher = tokens.log_softmax(teacher_logits, temperature)
        student = log_probs if temperature == 1 else tokens.log_softmax(logits, temperature)
        return temperature**2 * kl_divergence(teacher, student) / (logits.shape[-1] if variant == "released" else 1)

    weights = {"hard": 1 - kd_weight, "kd": kd_weight * multiplier}
    return tokens.weigh(hard=(weights["hard"], lambda: tokens.cross_entropy(log_probs)), kd=(weights["kd"], kd))


class VirtualTeacher(Term):
    """KL from Tf-KD reg's virtual teacher, always right and evenly unsure, summed over valid positions.

    Averaged over passes. The variants are those of :func:`tf_kd_reg_loss`.

    Args:
        temperature: τ.
        correct_prob: what the virtual teacher gives the target, between 0 and 1.
        variant: "paper" (default), "printed" or "released".
        **options: ``weight``, ``layer``: see :class:`Term`. The paper's α and m are weights: (1 − α) on the
            cross-entropy beside it, α m here.

    Of labels that MixUp has mixed, each has its virtual teacher, in its share. In an `Objective`, class weights are
    refused: a divergence has none.

    Raises:
        ConfigError: labels that are not one a position, as beside CTC; class weights; ``correct_prob`` outside (0, 1).
        ValueError: a target that is no class.
    """

    refuses = ("class_weights",)

    def __init__(
        self, *, temperature: float = 40.0, correct_prob: float = 0.99, variant: str = "paper", **options: object
    ) -> None:
        super().__init__(**options)
        self.temperature, self.variant = more_than(0, temperature=temperature), one_of(REG_VARIANTS, variant=variant)
        if not 0 < correct_prob < 1:
            raise ConfigError(f"correct_prob is {correct_prob}; expected between 0 and 1")
        self.correct_prob = correct_prob

    def forward(self, student: Outputs, other: None, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,) in nats."""
        classes = student.logits.shape[-1]
        gold, rest = virtual_teacher(classes, self.temperature, self.correct_prob, self.variant)
        ours = student.tempered(1.0 if self.variant == "released" else self.temperature)  # (P, B, T, C)
        targets, valid = gold_positions(labels, student, "VirtualTeacher")
        losses = mixed_in(lambda of: _from_virtual(gold, rest, -picked(ours, of), ours, of), targets, labels)
        losses = losses.masked_fill(~valid, 0.0).sum(-1).mean(0)
        return losses / (classes if self.variant == "released" else 1)


def _from_virtual(gold: float, other: float, hard: Tensor, log_probs: Tensor, targets: Tensor) -> Tensor:
    """(...) KL(u ‖ p), u being ``gold`` on the target (...) and ``other`` elsewhere; ``hard`` (...) is −log p of the
    target.
    """
    classes = log_probs.shape[-1]
    log_gold, log_other = (math.log(u) if u else -math.inf for u in (gold, other))  # a low temperature leaves one class
    entropy = -sum(count * u * log_u for count, u, log_u in ((1, gold, log_gold), (classes - 1, other, log_other)) if u)
    # Without weight, the other classes take no part, not even one that is -inf.
    spread = other * classes * log_probs.mean(-1) if other else 0.0
    plain = (gold - other) * hard - spread - entropy
    with torch.no_grad():
        log_u = torch.full_like(log_probs, log_other)
        log_u = log_u.scatter(-1, targets.expand(log_probs.shape[:-1])[..., None], log_gold)
        exact = divergence_terms(log_u, log_probs).sum(-1)
    return with_value(plain, exact)


def tf_kd_reg_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    kd_weight: float,
    temperature: float = 40.0,
    multiplier: float = 1.0,
    correct_prob: float = 0.99,
    variant: str = "paper",
    ignore_index: int = -100,
    reduction: str = "mean",
) -> DistillationLoss:
    """Tf-KD reg: a virtual teacher, always right and evenly unsure: (1 − α) · hard + α · m · kd.

    hard = −log P_y. The virtual teacher p^d has ``correct_prob`` on the target and the rest spread over the C − 1
    other classes. Its distribution has two values, so that it is never written out.

    - "paper" (default): kd = KL(softmax(log p^d / τ) ‖ softmax(z / τ)), both tempered.
    - "printed": kd = KL(softmax(p^d / τ) ‖ softmax(z / τ)): both tempered, with the probabilities p^d in the place of
      logits, so that the target is nearly uniform. By the author's statement, what Tiny-ImageNet and ImageNet have.
    - "released": kd = (1/C) KL(softmax(p^d / τ) ‖ softmax(z)): the author code for CIFAR-100 has the same target; it
      does not temper the student; and its ``KLDivLoss()`` averages over classes too, which m (1 to 100) repairs: with
      m = C the sum over classes is back.

    Args:
        logits: (B, S, C) of the student, C at least 2. A class that is -inf makes ``kd`` infinite.
        targets: (B, S) classes.
        kd_weight: α, from 0 to 1; cross-entropy has the weight 1 − α. Either weight at 0 removes its term. The
            paper has 0.95 for MobileNetV2 on CIFAR-100.
        temperature: τ; the default is the paper's for MobileNetV2.
        multiplier: m. No variant has τ²: m = τ² gives "paper" and "printed" the gradient scale of ordinary
            distillation.
        correct_prob: p^d of the target, between 0 and 1.
        variant: "paper", "printed" or "released".
        ignore_index: as in :func:`tf_kd_self_loss`.
        reduction: "mean", "sum" or "none".

    Returns:
        The total and its terms ``hard`` and ``kd``, before α and m. Float64 for float64 logits, else float32.

    Raises:
        ValueError: as :func:`tf_kd_self_loss`, and for ``correct_prob`` outside (0, 1).

    Paper: Yuan et al., CVPR 2020, arXiv 1909.11723; 10.1109/cvpr42600.2020.00396, and its author code. At τ = 1
    "paper" is label smoothing: (1 − α) CE(q, p) + α KL(u ‖ p) = CE((1 − α) q + α u, p) − α H(u), u = p^d. Chosen:
    the logits of p^d are log p^d, for the paper gives none.
    """
    tokens = ValidPositions.of(logits, targets, ignore_index=ignore_index, reduction=reduction)
    _check(kd_weight, temperature, multiplier, variant, REG_VARIANTS)
    if not 0 < correct_prob < 1:
        raise ValueError(f"correct_prob must be between 0 and 1, got {correct_prob}")
    classes = logits.shape[-1]
    if classes < 2:
        raise ValueError(f"logits must have at least 2 classes, got shape {tuple(logits.shape)}")
    log_probs = tokens.log_softmax(logits)  # (N, C)
    gold, other = virtual_teacher(classes, temperature, correct_prob, variant)

    def kd() -> Tensor:
        tempered = variant != "released" and temperature != 1
        student = tokens.log_softmax(logits, temperature) if tempered else log_probs
        losses = _from_virtual(gold, other, tokens.cross_entropy(student), student, tokens.targets)
        return losses / (classes if variant == "released" else 1)

    weights = {"hard": 1 - kd_weight, "kd": kd_weight * multiplier}
    return tokens.weigh(hard=(weights["hard"], lambda: tokens.cross_entropy(log_probs)), kd=(weights["kd"], kd))


def virtual_teacher(
    classes: int, temperature: float, correct_prob: float = 0.99, variant: str = "paper"
) -> tuple[float, float]:
    """What the virtual teacher of Tf-KD reg gives the target, and each of the other classes, once tempered.

    Args:
        classes: C, at least 2.
        temperature: τ.
        correct_prob: p^d of the target.
        variant: "paper" tempers log p^d, "printed" and "released" p^d itself.

    Returns:
        Two probabilities; the first and C − 1 times the second add up to 1.
    """
    gold, other = correct_prob, (1 - correct_prob) / (classes - 1)
    if variant == "paper":
        gold, other = math.log(gold), math.log(other)
    high = max(gold, other)
    gold, other = (math.exp((x - high) / temperature) for x in (gold, other))
    total = gold + (classes - 1) * other
    return gold / total, other / total


def _check(kd_weight: float, temperature: float, multiplier: float, variant: str, variants: Sequence[str]) -> None:
    check_choice("variant", variant, variants)
    check_share("kd_weight", kd_weight)
    check_distance("kl", temperature)
    if not (math.isfinite(multiplier) and multiplier > 0):
        raise ValueError(f"multiplier must be finite and positive, got {multiplier}")
