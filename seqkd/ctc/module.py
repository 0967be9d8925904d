"""The CTC loss as a module, with the arguments of torch's.

Letters: B utterances, T frames, C classes, S labels of the longest target.
"""

from __future__ import annotations

from torch import Tensor, nn

from seqkd.ctc.arguments import CTC_REDUCTIONS, IntSequence, check_choice
from seqkd.ctc.fused import BACKENDS
from seqkd.ctc.loss import ctc_loss


class CTCLoss(nn.Module):
    """``torch.nn.CTCLoss`` by the kernels of :func:`seqkd.ctc.ctc_loss`: the same arguments, defaults and values.

    Args:
        blank: class of the blank.
        reduction: "mean" (default), "sum" or "none" as in torch, or "batchmean": the sum divided by B. ``docs/ctc.md``
            says which toolkit means which by its mean.
        zero_infinity: a target that cannot be aligned gives 0 instead of inf; its gradient is zero either way.
        batch_first: False (default) takes (T, B, C) as torch does, True takes (B, T, C).
        backend: as in :func:`seqkd.ctc.ctc_loss`, and so the next.
        validate: whether labels are checked.

    Raises:
        ValueError: an unknown reduction or backend.
    """

    def __init__(
        self,
        blank: int = 0,
        reduction: str = "mean",
        zero_infinity: bool = False,
        *,
        batch_first: bool = False,
        backend: str = "auto",
        validate: bool | None = None,
    ) -> None:
        super().__init__()
        check_choice("reduction", reduction, CTC_REDUCTIONS)
        check_choice("backend", backend, BACKENDS)
        self.blank, self.reduction, self.zero_infinity = blank, reduction, bool(zero_infinity)
        self.batch_first, self.backend, self.validate = bool(batch_first), backend, validate

    def forward(
        self, log_probs: Tensor, targets: IntSequence, input_lengths: IntSequence, target_lengths: IntSequence
    ) -> Tensor:
        """The loss.

        Args:
            log_probs: (T, B, C), (B, T, C) if ``batch_first``, or (T, C) of one utterance. Logits do as well: the
                log-softmax of log-probabilities is themselves.
            targets: (B, S) padded, 1-D with all targets joined, or a list of B lists; (S,) for one utterance.
            input_lengths: (B,); one number for one utterance.
            target_lengths: (B,).

        Returns:
            A scalar; (B,) for reduction "none" and a batch.

        Raises:
            ValueError: as :func:`seqkd.ctc.ctc_loss`.
        """
        if log_probs.dim() == 3 and not self.batch_first:
            log_probs = log_probs.transpose(0, 1)
        return ctc_loss(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            blank=self.blank,
            reduction=self.reduction,
            zero_infinity=self.zero_infinity,
            backend=self.backend,
            validate=self.validate,
        )

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"blank={self.blank}, reduction={self.reduction!r}, zero_infinity={self.zero_infinity}, "
            f"batch_first={self.batch_first}"
        )
