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

One convention for all: a term is summed over classes and valid frames; reduction "none" gives (B,), "sum"
adds utterances up, "mean" divides all terms by the number of utterances; `kd_weight` is the weight of the
teacher's term; a weight of 0 removes its term; padded frames never matter; the teacher gets no gradient; half
precision is computed in float32.
"""

from seqkd.ctc import ctc_loss
from seqkd.losses.base import DistillationLoss, frame_mask
from seqkd.losses.best_path import best_path_ctc_loss, collapse
from seqkd.losses.cons_kd import cons_kd_loss, ctc_kd_loss
from seqkd.losses.delayed import delayed_kd_loss
from seqkd.losses.guided import guided_ctc_loss
from seqkd.losses.inter_ctc import inter_ctc_kd_loss
from seqkd.losses.nbest import nbest_ctc_loss

__all__ = [
    "DistillationLoss",
    "best_path_ctc_loss",
    "collapse",
    "cons_kd_loss",
    "ctc_kd_loss",
    "ctc_loss",
    "delayed_kd_loss",
    "frame_mask",
    "guided_ctc_loss",
    "inter_ctc_kd_loss",
    "nbest_ctc_loss",
]
