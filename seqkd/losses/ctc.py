"""CTC as a term.

Letters: P passes, B utterances, T frames, C classes, S labels of the longest target.
"""

from __future__ import annotations

from torch import Tensor

from seqkd.ctc.arguments import shape_targets
from seqkd.ctc.fused import BACKENDS, choose_backend
from seqkd.ctc.loss import ctc_from_log_probs
from seqkd.losses.base import labelled_only
from seqkd.losses.native import native_terms
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Labels, Outputs
from seqkd.settings import one_of


class Ctc(Term):
    """CTC on the transcript, averaged over passes; 0 for utterances without one. See :func:`seqkd.ctc.ctc_loss`.

    Args:
        zero_infinity: a target that cannot be aligned gives 0 and no gradient instead of inf.
        backend: "auto", "cpu", "cuda", "torch" or "reference", as in :func:`seqkd.ctc.ctc_loss`.
        **options: ``weight``, ``layer``: see :class:`Term`.

    Paper: Graves et al., "Connectionist temporal classification", ICML 2006, 10.1145/1143844.1143891.
    """

    kernel = "ctc"

    def __init__(self, *, zero_infinity: bool = False, backend: str = "auto", **options: object) -> None:
        super().__init__(**options)
        self.zero_infinity, self.backend = bool(zero_infinity), one_of(BACKENDS, backend=backend)

    def forward(self, student: Outputs, other: None, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,) in nats."""
        backend = choose_backend(self.backend, student.logits)
        if backend not in ("torch", "reference"):
            return native_terms(student, None, labels, ctc=self)["ctc"]
        shaped = shape_targets(
            student.logits,
            labels.targets,
            student.lengths,
            labels.lengths,
            blank=labels.blank,
            labelled=labels.labelled,
        )
        options = {"blank": labels.blank, "zero_infinity": self.zero_infinity, "backend": backend, "validate": None}
        losses = ctc_from_log_probs(student.log_probs, *shaped, **options)
        return labelled_only(losses, labels.labelled).mean(0)
