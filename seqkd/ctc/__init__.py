"""The CTC loss and its relatives, and the readable reference they are tested against.

`ctc_loss` and its module `CTCLoss`; `ctc_loss_with_priors`; `star_ctc_loss` for transcripts with faults; `occupancies`,
the soft alignment, beside `forced_alignment`, the best path. Imports nothing but torch and the standard library.
"""

from seqkd.ctc.alignment import forced_alignment
from seqkd.ctc.loss import ctc_loss
from seqkd.ctc.module import CTCLoss
from seqkd.ctc.priors import ctc_loss_with_priors, log_label_priors
from seqkd.ctc.soft_alignment import Occupancies, occupancies
from seqkd.ctc.star import star_ctc_loss

__all__ = [
    "CTCLoss",
    "Occupancies",
    "ctc_loss",
    "ctc_loss_with_priors",
    "forced_alignment",
    "log_label_priors",
    "occupancies",
    "star_ctc_loss",
]
