"""One soft target of several teachers: a weighted mean of their probabilities.

Letters: K teachers, P passes, B items, T frames or positions, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from seqkd.errors import ConfigError
from seqkd.losses.base import check_teacher, kl_divergence
from seqkd.losses.gold import gold_positions, mixed_in, picked
from seqkd.losses.objective import Term
from seqkd.losses.outputs import Labels, Outputs
from seqkd.settings import at_least, more_than, one_of

COMBINATIONS = ("uniform", "per_sample", "dev")


class MultiTeacherKd(Term):
    """τ² KL(Σ_k a_k softmax(z_k / τ) ‖ softmax(z / τ)), summed over classes and valid positions, averaged over passes.

    The K teachers stand on the first axis of the teacher's outputs, (K, B, T, C). Probabilities are averaged, never
    logits, whose scales differ from teacher to teacher. K equal teachers are one. Teachers of CTC spike at different
    frames, so that their mean is blurred there: `seqkd.losses.Guided` has no such trouble.

    Args:
        combine: the shares a_k. "uniform" (default): 1/K. "per_sample": in proportion to exp(−CE_k) of teacher k at
            each position, that is to what it gives the target (CE_k of a mixture of two, where MixUp has made one); 1/K
            where there is no target. "dev": in proportion to
            ``shares``, such as exp(−CE_k) on development data.
        shares: one number of at least 0 a teacher, in their order; for "dev" alone.
        temperature: τ of all.
        **options: ``weight``, ``layer``, ``other_layer``: see :class:`Term`.

    Raises:
        ConfigError: shares that are missing, wrong, or not one a teacher; "per_sample" beside CTC, which has no target
            a frame.
        ValueError: teachers whose (B, T, C) is not the student's.

    Paper: multi-teacher targets for grafted students, ICAICE 2021, 10.1109/icaice54393.2021.00127. The exact form is
    not public; this follows its abstract: better teachers guide more.
    """

    source = "teacher"
    several = True

    def __init__(
        self,
        *,
        combine: str = "uniform",
        shares: Sequence[float] | None = None,
        temperature: float = 1.0,
        **options: object,
    ) -> None:
        super().__init__(**options)
        self.combine, self.temperature = one_of(COMBINATIONS, combine=combine), more_than(0, temperature=temperature)
        if (combine == "dev") != (shares is not None):
            raise ConfigError(
                f"shares is {shares!r} and combine is {combine!r}; expected both shares and 'dev', or none"
            )
        self.shares = None if shares is None else [float(at_least(0, shares=one)) for one in shares]
        if self.shares is not None and not sum(self.shares) > 0:
            raise ConfigError(f"shares is {shares!r}; expected one number a teacher, of which one is more than 0")

    def forward(self, student: Outputs, teacher: Outputs, labels: Labels) -> Tensor:
        """Return each item's loss, unweighted: (B,)."""
        check_teacher(teacher.logits[:1], student.logits)
        shares = self._log_shares(teacher, labels)  # (K, B or 1, T or 1)
        target = (shares[..., None] + teacher.tempered(self.temperature)).logsumexp(0)  # (B, T, C)
        losses = self.temperature**2 * kl_divergence(target, student.tempered(self.temperature))  # (P, B, T)
        return losses.masked_fill(~student.mask, 0.0).sum(-1).mean(0)

    def _log_shares(self, teacher: Outputs, labels: Labels) -> Tensor:
        """Logarithms of the shares, which add up to 1 over teachers."""
        log_probs = teacher.log_probs
        teachers, _, frames, _ = log_probs.shape
        if self.shares is not None:
            if len(self.shares) != teachers:
                raise ConfigError(
                    f"shares has {len(self.shares)} numbers and there are {teachers} teachers; expected one a teacher"
                )
            return (log_probs.new_tensor(self.shares) / sum(self.shares)).log()[:, None, None]
        if self.combine == "uniform":
            return log_probs.new_full((teachers, 1, 1), -math.log(teachers))
        if labels.targets.shape[1] != frames:
            raise ConfigError("combine 'per_sample' needs one target a position: beside CTC, use 'uniform' or 'dev'")
        targets, known = gold_positions(labels, teacher, "MultiTeacherKd with combine='per_sample'")
        gold = mixed_in(lambda of: picked(log_probs, of), targets, labels)
        # A target that all teachers rule out, like none at all, makes them equals.
        known = known & (gold > -torch.inf).any(0)
        return gold.masked_fill(~known, 0.0).log_softmax(0)
