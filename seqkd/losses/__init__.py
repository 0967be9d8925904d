"""Distillation objectives. Importing this imports torch and nothing else.

An objective is a list of weighted terms (`seqkd.losses.objective` shows one whole)::

    objective = Objective(ctc=Ctc(), kd=FrameKd(weight=1.0), consistency=Consistency(weight=0.2))
    loss = objective(student, {"teacher": teacher}, labels)

| term                | what the student learns from                               | beside                    |
|---------------------|------------------------------------------------------------|---------------------------|
| `Ctc`               | the transcript                                             | CTC                       |
| `CrossEntropy`      | the class of each position                                 | positions                 |
| `LabelSmoothing`    | that, softened by a fixed amount                           | positions                 |
| `AdaptiveSmoothing` | that, softened by what the model itself once knew          | positions                 |
| `AlignedSmoothing`  | that, where the units of a CTC transcript are              | CTC                       |
| `ConfidencePenalty` | a price on confidence                                      | either                    |
| `FrameKd`           | the teacher's distribution on each frame or position       | either                    |
| `Delayed`           | that, some frames late                                     | CTC                       |
| `Guided`            | the times of the teacher's spikes                          | CTC                       |
| `BestPath`          | the teacher's greedy transcript                            | CTC                       |
| `NBest`             | the teacher's N best hypotheses                            | CTC                       |
| `BookKd`            | a book, trusted less where it is unsure                    | either                    |
| `SoftTargets`       | a fused teacher's tempered posterior                       | positions                 |
| `VirtualTeacher`    | a virtual teacher that is never wrong (Tf-KD)              | positions                 |
| `Consistency`       | agreement between passes (Cons-KD, CR-CTC, R-Drop)         | either                    |

And, each in a module of its own:

| term                                    | what the student learns from                               | beside    |
|-----------------------------------------|------------------------------------------------------------|-----------|
| `extractive.ExtractiveKd`               | what of the teacher rises above its uniform part           | either    |
| `ttm.Ttm`                               | the teacher's power transform, weighted or not (TTM, WTTM) | either    |
| `ace.Ace`                               | the label, and the teacher where it is right (ACE)         | positions |
| `uncertainty.UncertaintyKd`             | a teacher's draws, trusted by their uncertainty            | either    |
| `ccd.CounterpartKd`                     | a view and its augmented counterpart (CCD)                 | either    |
| `multi_teacher.MultiTeacherKd`          | several teachers' probabilities, evenly or by sample       | either    |
| `grafting.GraftMatch`                   | unit logits of a network with grafted blocks               | either    |
| `ccskd.SelectiveKd`                     | the teacher, more where it is right (CCSKD)                | either    |
| `subset.SubsetKd`                       | some of the teacher's classes (CSKD)                       | either    |
| `one_sided.OneSidedConsistency`         | passes of which more was masked, from those of less        | either    |
| `pooled_consistency.PooledConsistency`  | agreement between passes, give or take a few frames        | either    |
| `ccskd.ChannelDescriptors`              | means of the channels of a layer (CCSKD)                   | a layer   |
| `relations.RelationKd`                  | distances and angles between items (CCSKD)                 | a layer   |
| `csc.ChannelSpatial`                    | how frames, and channels, resemble each other (CSC)        | a layer   |
| `class_statistics.IntraClassVariance`   | items of a class drawn together (CSKD)                     | a layer   |
| `class_statistics.OrthogonalProjection` | classes at right angles (OPL)                              | a layer   |
| `activation.ActivationL1`               | a price on activations, so that units fall silent (KDDP)   | a layer   |
| `entropy_of_layer.LayerEntropy`         | a price on the entropy of a layer of logits (VAM)          | a layer   |

For one's own training loop there are functions on tensors, each with its whole objective:

| function                                              | terms                         |
|-------------------------------------------------------|-------------------------------|
| `ctc_loss`                                            | returns a tensor              |
| `ctc_kd_loss`                                         | ctc, kd                       |
| `cons_kd_loss` (Cons-KD, CR-CTC, R-Drop)              | ctc, kd, consistency          |
| `guided_ctc_loss`, `best_path_ctc_loss`, `nbest_ctc_loss`, `delayed_kd_loss`, `sparse_ctc_kd_loss` | ctc, kd |
| `inter_ctc_kd_loss`                                   | ctc, kd, inter_ctc, inter_kd  |
| `adaptive_label_smoothing_loss`                       | hard, soft, alpha             |
| `uniform_label_smoothing_loss`                        | hard, soft                    |
| `confidence_penalty_loss`                             | hard, penalty                 |
| `tf_kd_self_loss`, `tf_kd_reg_loss`, `book_kd_loss`, `deep_interactive_loss` | hard, kd |
| `r_drop_loss`                                         | hard, consistency             |

`seqkd.ctc` has what stands beside CTC: the module `CTCLoss` with torch's arguments, forced and soft alignment, label
priors, a star for faulty transcripts; ``docs/ctc.md`` defines "mean" for each.

`sparse_kd_loss` is the distillation term alone, against what a book kept (`SparsePosteriors`).

One convention: a term is summed over classes and over valid frames or positions; reduction "none" gives (B,), "sum"
adds items up, "mean" divides all terms by the number of items; a weight of 0 removes its term; padding never matters;
teachers get no gradient; half precision is computed in float32. The functions by position (the last five rows) differ:
reduction "mean" averages over valid positions and "none" gives (B, S). In ``tf_kd_self_loss``, ``tf_kd_reg_loss`` and
``deep_interactive_loss``, ``kd_weight`` is a share and the hard term has 1 − ``kd_weight``; in ``book_kd_loss`` the
hard term has weight 1.
"""

try:
    import torch  # noqa: F401
except ModuleNotFoundError as missing:
    if missing.name != "torch":
        raise
    raise ModuleNotFoundError(
        "seqkd.losses needs torch, which is not installed: pip install 'seqkd[losses]'", name="torch"
    ) from None

from seqkd.ctc import ctc_loss
from seqkd.ctc.frames import frame_mask
from seqkd.losses.aligned_smoothing import AlignedSmoothing
from seqkd.losses.base import DistillationLoss
from seqkd.losses.beside_ctc import beside_ctc
from seqkd.losses.best_path import BestPath, best_path_ctc_loss, collapse
from seqkd.losses.book_kd import BookKd, book_kd_loss
from seqkd.losses.confidence_penalty import ConfidencePenalty, confidence_penalty_loss
from seqkd.losses.cons_kd import cons_kd_loss, ctc_kd_loss
from seqkd.losses.consistency import Consistency
from seqkd.losses.cross_entropy import CrossEntropy
from seqkd.losses.ctc import Ctc
from seqkd.losses.deep_interactive import SoftTargets, deep_interactive_loss
from seqkd.losses.delayed import Delayed, delayed_kd_loss
from seqkd.losses.frame_kd import FrameKd
from seqkd.losses.guided import Guided, guided_ctc_loss
from seqkd.losses.inter_ctc import inter_ctc_kd_loss
from seqkd.losses.label_smoothing import (
    AdaptiveSmoothing,
    LabelSmoothing,
    adaptive_label_smoothing_loss,
    uniform_label_smoothing_loss,
)
from seqkd.losses.nbest import Hypotheses, NBest, nbest_ctc_loss
from seqkd.losses.objective import Objective, Term
from seqkd.losses.outputs import Features, Labels, Outputs
from seqkd.losses.r_drop import r_drop_loss
from seqkd.losses.sparse import SparsePosteriors, sparse_ctc_kd_loss, sparse_kd_loss
from seqkd.losses.tf_kd import VirtualTeacher, tf_kd_reg_loss, tf_kd_self_loss

__all__ = [
    "AdaptiveSmoothing",
    "AlignedSmoothing",
    "BestPath",
    "BookKd",
    "ConfidencePenalty",
    "Consistency",
    "CrossEntropy",
    "Ctc",
    "Delayed",
    "DistillationLoss",
    "Features",
    "FrameKd",
    "Guided",
    "Hypotheses",
    "LabelSmoothing",
    "Labels",
    "NBest",
    "Objective",
    "Outputs",
    "SoftTargets",
    "SparsePosteriors",
    "Term",
    "VirtualTeacher",
    "adaptive_label_smoothing_loss",
    "beside_ctc",
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
