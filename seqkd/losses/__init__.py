"""Distillation objectives: pure functions on tensors. Importing this imports torch and nothing else.

| function             | what the student learns from                    | terms                         |
|----------------------|-------------------------------------------------|-------------------------------|
| `ctc_loss`           | the transcript                                  | returns a tensor              |
| `ctc_kd_loss`        | the teacher's distribution, frame by frame      | ctc, kd                       |
| `cons_kd_loss`       | that, and agreement between passes              | ctc, kd, consistency          |
|                      | (Cons-KD, CR-CTC, R-Drop)                       |                               |
| `guided_ctc_loss`    | the times of the teacher's spikes               | ctc, kd                       |
| `best_path_ctc_loss` | the teacher's greedy transcript                 | ctc, kd                       |
| `nbest_ctc_loss`     | the teacher's N best hypotheses                 | ctc, kd                       |
| `delayed_kd_loss`    | the teacher's distribution, some frames late    | ctc, kd                       |
| `inter_ctc_kd_loss`  | the teacher's distribution, in inner layers too | ctc, kd, inter_ctc, inter_kd  |
| `sparse_ctc_kd_loss` | what a book kept of that distribution           | ctc, kd                       |

One loss a target token, for encoder–decoder models and other classifiers, (B, S, C):

| function                        | what the student learns from                     | terms                 |
|---------------------------------|--------------------------------------------------|-----------------------|
| `adaptive_label_smoothing_loss` | the target, softened by what the model once knew | hard, soft, alpha     |
| `uniform_label_smoothing_loss`  | the target, softened by a fixed amount           | hard, soft            |
| `confidence_penalty_loss`       | the target, at a price on confidence             | hard, penalty         |
| `tf_kd_self_loss`               | a pretrained copy, or any teacher                | hard, kd              |
| `tf_kd_reg_loss`                | a virtual teacher that is never wrong            | hard, kd              |
| `r_drop_loss`                   | the target, and agreement between passes         | hard, consistency     |
| `book_kd_loss`                  | a book, and the target, softened                 | hard, kd              |
| `deep_interactive_loss`         | the target, and a fused teacher's belief         | hard, kd              |

`sparse_kd_loss` is the distillation term alone, against what a book kept (`SparsePosteriors`).

One convention for those beside CTC: a term is summed over classes and valid frames; reduction "none" gives (B,), "sum"
adds utterances up, "mean" divides all terms by the number of utterances; `kd_weight` is the weight of the
teacher's term; a weight of 0 removes its term; padded frames never matter; the teacher gets no gradient; half
precision is computed in float32. Those by token differ in two points: reduction "mean" averages over valid
positions and "none" gives (B, S); and `kd_weight` is a share, which leaves 1 − `kd_weight` for the hard term.
"""

from seqkd.ctc import ctc_loss
from seqkd.losses.base import DistillationLoss, frame_mask
from seqkd.losses.best_path import best_path_ctc_loss, collapse
from seqkd.losses.book_kd import SparsePosteriors, book_kd_loss, sparse_ctc_kd_loss, sparse_kd_loss
from seqkd.losses.cons_kd import cons_kd_loss, ctc_kd_loss
from seqkd.losses.deep_interactive import deep_interactive_loss
from seqkd.losses.delayed import delayed_kd_loss
from seqkd.losses.guided import guided_ctc_loss
from seqkd.losses.inter_ctc import inter_ctc_kd_loss
from seqkd.losses.label_smoothing import (
    adaptive_label_smoothing_loss,
    confidence_penalty_loss,
    uniform_label_smoothing_loss,
)
from seqkd.losses.nbest import nbest_ctc_loss
from seqkd.losses.r_drop import r_drop_loss
from seqkd.losses.tf_kd import tf_kd_reg_loss, tf_kd_self_loss

__all__ = [
    "DistillationLoss",
    "SparsePosteriors",
    "adaptive_label_smoothing_loss",
    "best_path_ctc_loss",
    "book_kd_loss",
    "collapse",
    "confidence_penalty_loss",
    "cons_kd_loss",
    "ctc_kd_loss",
    "ctc_loss",
    "deep_interactive_loss",
    "delayed_kd_loss",
    "frame_mask",
    "guided_ctc_loss",
    "inter_ctc_kd_loss",
    "nbest_ctc_loss",
    "r_drop_loss",
    "sparse_ctc_kd_loss",
    "sparse_kd_loss",
    "tf_kd_reg_loss",
    "tf_kd_self_loss",
    "uniform_label_smoothing_loss",
]
