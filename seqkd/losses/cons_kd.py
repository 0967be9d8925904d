"""Consistency-regularised CTC distillation: learn from the teacher, and agree with yourself under dropout.

Letters: P passes, B utterances, T frames, C classes, S labels of the longest target.
"""

from functools import cache

import torch
from torch import Tensor

from seqkd.ctc.arguments import IntSequence, check_choice, check_logits
from seqkd.ctc.fused import BACKENDS, choose_backend
from seqkd.losses.base import DistillationLoss, check_distance
from seqkd.losses.beside_ctc import of_tensors
from seqkd.losses.consistency import Consistency
from seqkd.losses.ctc import Ctc
from seqkd.losses.frame_kd import SELECTIONS, FrameKd
from seqkd.losses.objective import Term


def cons_kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    targets: IntSequence,
    input_lengths: IntSequence,
    target_lengths: IntSequence,
    *,
    blank: int = 0,
    kd_weight: float,
    consistency_weight: float,
    ctc_weight: float = 1.0,
    distance: str = "squared",
    temperature: float = 1.0,
    detach_consistency: bool = False,
    select: str = "all",
    labelled: IntSequence | None = None,
    zero_infinity: bool = False,
    reduction: str = "mean",
    backend: str = "auto",
) -> DistillationLoss:
    """Cons-KD: CTC, distillation, and consistency between passes of one batch under different dropout masks.

    With passes i = 1..P of the student, for each utterance::

        total = ctc_weight         · 1/P Σᵢ CTC(zᵢ, y)
              + kd_weight          · 1/P Σᵢ Σ_t D(p_T, pᵢ)
              + consistency_weight · mean over pairs i < j of Σ_t ½ [KL(pᵢ‖pⱼ) + KL(pⱼ‖pᵢ)]

    Every term sums over classes and valid frames, as CTC itself does, so that all share one scale and
    published weights carry over (CR-CTC's 0.2).

    Args:
        student_logits: (P, B, T, C). P = 1 is plain CTC distillation and has no consistency term.
        teacher_logits: (B, T, C); or (P, B, T, C) when the passes were given different input and the teacher was given
            each; or None for no distillation term. Gets no gradient.
        targets: (B, S) padded with anything, or 1-D with all targets joined.
        input_lengths: (B,) valid frames; what stands in padded frames, NaN too, changes nothing.
        target_lengths: (B,) labels.
        blank: class of the blank.
        kd_weight: weight of the distillation term. A weight of 0 removes a term: it is not computed, and is
            absent from ``terms``.
        consistency_weight: weight of the consistency term; usually warmed up linearly from 0.
        ctc_weight: weight of the CTC term.
        distance: D. "squared" (default) is Σ_c (p_T^τ − p^τ)², the same group's softmax-level KD; "kl" is
            τ²·KL(p_T^τ ‖ p^τ).
        temperature: τ of both distributions in D. The consistency term is always at τ = 1.
        detach_consistency: True is CR-CTC's form ½ [KL(sg pⱼ‖pᵢ) + KL(sg pᵢ‖pⱼ)]: the same value, and the
            gradient ½ (pᵢ − pⱼ) with respect to zᵢ.
        select: "nonblank" distils only frames whose teacher argmax is not the blank; "all" (default) every
            frame.
        labelled: (B,) bool, None for all. An utterance where it is False has no transcript: it takes part in
            distillation and consistency, its CTC is 0, and its row of ``targets`` is ignored.
        zero_infinity: as in :func:`seqkd.losses.ctc_loss`; if False, a target that cannot be aligned gives
            inf.
        reduction: "none" gives (B,), "sum" adds utterances up, "mean" divides **all** terms by B.
        backend: "cpu" and "cuda" compute all terms and their gradient in one kernel that reads the logits where
            they are; "torch" composes them of torch's operations; "reference" does so in float64, with the
            readable CTC; "auto" is the kernel where there is one for the device, else "torch".

    Returns:
        The total and its unweighted terms ``ctc``, ``kd``, ``consistency``; float64 if the student's logits
        are (or for backend "reference"), else float32.

    Raises:
        ValueError: shapes that disagree, a length or label out of range (the utterance is named), an unknown
            option, a negative weight, a backend that is not available here (with how to get it).

    Papers: Cons-KD, IEEE Access 2024, 10.1109/access.2024.3457859; the paper's exact form is not public, this
    follows its abstract, with the same group's squared distance. CR-CTC, ICLR 2025, arXiv 2410.05101. R-Drop,
    NeurIPS 2021, arXiv 2106.14448.
    """
    check_logits("student_logits", student_logits, "PBTC")
    check_distance(distance, temperature)
    check_choice("select", select, SELECTIONS)
    check_choice("backend", backend, BACKENDS)
    agreement = consistency_weight if len(student_logits) > 1 else 0.0
    terms = {
        "ctc": (_term(Ctc, zero_infinity=zero_infinity, backend=backend), ctc_weight),
        "kd": (_term(FrameKd, distance=distance, temperature=temperature, select=select), kd_weight),
        "consistency": (_term(Consistency, detach=detach_consistency), agreement),
    }
    others = {} if teacher_logits is None else {"teacher": teacher_logits}
    native = choose_backend(backend, student_logits) not in ("torch", "reference")
    return of_tensors(
        terms,
        student_logits.double() if backend == "reference" else student_logits,
        others,
        targets,
        input_lengths,
        target_lengths,
        blank=blank,
        labelled=labelled,
        reduction=reduction,
        checked=native,  # the kernels check
    )


def _term(kind: type[Term], **options: object) -> Term:
    """A term without parameters; kept, so that small problems need not wait for it."""
    return kind(**options) if torch.compiler.is_compiling() else _kept(kind, tuple(options.items()))


@cache
def _kept(kind: type[Term], options: tuple[tuple[str, object], ...]) -> Term:
    return kind(**dict(options))


def ctc_kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    targets: IntSequence,
    input_lengths: IntSequence,
    target_lengths: IntSequence,
    *,
    kd_weight: float,
    **options: object,
) -> DistillationLoss:
    """CTC distillation with one student pass: :func:`cons_kd_loss` for student logits (B, T, C).

    Args:
        student_logits: (B, T, C).
        teacher_logits: (B, T, C), or None.
        targets: (B, S) padded, or 1-D joined.
        input_lengths: (B,).
        target_lengths: (B,).
        kd_weight: weight of the distillation term.
        **options: ``blank, ctc_weight, distance, temperature, select, labelled, zero_infinity, reduction,
            backend`` of :func:`cons_kd_loss`, with its defaults.

    Returns:
        The total and its unweighted terms ``ctc`` and ``kd``.

    Raises:
        ValueError: as :func:`cons_kd_loss`.
    """
    check_logits("student_logits", student_logits, "BTC")
    return cons_kd_loss(
        student_logits[None],
        teacher_logits,
        targets,
        input_lengths,
        target_lengths,
        kd_weight=kd_weight,
        consistency_weight=0.0,
        **options,
    )
