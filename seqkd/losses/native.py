"""Terms that the native CTC kernels compute in one go, found by their types.

The kernels go over the logits once for CTC, frame distillation and consistency together (`seqkd.ctc.fused`). A class
that one of them computes names it in ``kernel``: "ctc", "kd" or "consistency"; classes that derive from it do not. A
group of terms on one layer is a kernel's if it has CTC in it, with whatever of the other two looks at the same layer.

Letters: P passes, B utterances, T frames, C classes, Q teachers (1 or P).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from seqkd.ctc.arguments import shape_targets
from seqkd.ctc.fused import choose_backend, fused_losses
from seqkd.ctc.loss import finite_only
from seqkd.losses.base import check_teacher, labelled_only
from seqkd.losses.outputs import Labels, Outputs, labels_of


def native_values(
    terms: Mapping[str, tuple[Any, float]], student: Outputs, others: Mapping[str, Outputs], labels: Labels
) -> dict[str, Tensor]:
    """Compute those of the terms that a kernel has: (B,) by name; the others are left to themselves.

    ``terms`` come with their weights. One of weight 0 is not computed, but CTC of weight 0 still makes a group.
    """
    values: dict[str, Tensor] = {}
    for anchor, (ctc, ctc_weight) in terms.items():
        if kernel_of(ctc) != "ctc":
            continue
        layer = student.at(ctc.layer)
        if not isinstance(layer, Outputs) or choose_backend(ctc.backend, layer.logits) in ("torch", "reference"):
            continue
        group = {"ctc": anchor} if ctc_weight else {}
        for name, (term, weight) in terms.items():
            if weight and term.layer == ctc.layer and name not in values:
                kernel = kernel_of(term)
                if kernel == "consistency" and len(layer.logits) > 1:
                    group.setdefault("consistency", name)
                elif kernel == "kd" and not term.per_class and term.source in others:
                    group.setdefault("kd", name)
        if not group:
            continue
        members = {kind: terms[name][0] for kind, name in group.items()}
        teacher = others["teacher"].at(members["kd"].other_layer) if "kd" in members else None
        found = native_terms(layer, teacher, labels_of(layer, labels), **members)
        values |= {name: found[kind] for kind, name in group.items()}
    return values


def kernel_of(term: Any) -> str | None:
    """The part of the kernels that computes a term of this very class; a class that derives from it may do
    otherwise.
    """
    return vars(type(term)).get("kernel")


def native_terms(
    student: Outputs,
    teacher: Outputs | None,
    labels: Labels,
    *,
    ctc: Any = None,
    kd: Any = None,
    consistency: Any = None,
) -> dict[str, Tensor]:
    """Compute each term given, (B,), averaged over passes or pairs of them, by one call of the device's kernel."""
    if kd is not None:
        check_teacher(teacher.logits, student.logits)
    losses = fused_losses(
        student.logits,
        _readable(teacher.logits) if kd is not None else None,
        *shape_targets(
            student.logits,
            labels.targets,
            student.lengths,
            labels.lengths,
            blank=labels.blank,
            labelled=labels.labelled,
        ),
        blank=labels.blank,
        ctc=ctc is not None,
        distance=kd.distance if kd is not None else "none",
        temperature=kd.temperature if kd is not None else 1.0,
        nonblank=kd is not None and kd.select == "nonblank",
        consistency="none" if consistency is None else "detached" if consistency.detach else "attached",
    )
    found = {}
    if ctc is not None:
        aligned = finite_only(losses.ctc) if ctc.zero_infinity else losses.ctc
        found["ctc"] = labelled_only(aligned, labels.labelled).mean(0)
    if kd is not None:
        found["kd"] = losses.kd.mean(0)
    if consistency is not None:
        found["consistency"] = losses.consistency
    return found


def _readable(teacher_logits: Tensor) -> Tensor:
    """Return the logits (Q, B, T, C) in a type that the kernels read: those of CUDA have no double precision."""
    double = teacher_logits.device.type == "cuda" and teacher_logits.dtype == torch.float64
    return teacher_logits.float() if double else teacher_logits
