"""What cross-entropy with the target is made of, for terms that include it: targets, mixtures, class weights.

Letters: P passes, B items, T target positions (1 for a classifier), C classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from seqkd.errors import ConfigError
from seqkd.losses.outputs import IGNORE, Labels, Outputs


def gold_positions(labels: Labels, student: Outputs, what: str) -> tuple[Tensor, Tensor]:
    """Targets (B, T), 0 where there is none, and (B, T) bool, where there is one.

    Args:
        labels: of one class a position.
        student: whose positions and classes they are of.
        what: needs them: heads the message.

    Raises:
        ConfigError: fewer targets than positions, as beside CTC.
        ValueError: a target that is no class of the student's; see `Labels.check_classes`.
    """
    targets = targets_of(labels, student.mask.shape[1], what)
    valid = student.mask & (targets != IGNORE)
    labels.check_classes(valid, student.logits.shape[-1])
    return targets.masked_fill(~valid, 0), valid


def targets_of(labels: Labels, positions: int, what: str) -> Tensor:
    """Targets (B, T), -100 where there is none. Raises ConfigError, headed by ``what``, for fewer than positions."""
    if labels.targets.shape[1] < positions:
        raise ConfigError(
            f"{what} needs one target a position, but there are {labels.targets.shape[1]} targets for {positions} "
            "positions, as beside CTC; give it a layer with one target a position"
        )
    return labels.positions(positions)


def mixed_in(losses: Callable[[Tensor], Tensor], targets: Tensor, labels: Labels) -> Tensor:
    """Compute the losses (P, B, T) of targets (B, T); where MixUp has mixed two, both losses in their shares."""
    found = losses(targets)
    if labels.mixed is None:
        return found
    others, part = labels.mixed[:, : targets.shape[1]], labels.share.to(found)[:, None]
    absent = others == IGNORE
    theirs = losses(others.masked_fill(absent, 0)).masked_fill(absent, 0.0)
    # A share of nothing takes no part, even of a loss that is infinite.
    return torch.where(part == 1, found, torch.where(part == 0, theirs, part * found + (1 - part) * theirs))


def class_weighted(log_probs: Tensor, labels: Labels) -> Tensor:
    """Multiply values (P, B, T, C) by the weights of the classes, if there are any."""
    return log_probs if labels.class_weights is None else log_probs * labels.class_weights.to(log_probs)


def picked(values: Tensor, targets: Tensor) -> Tensor:
    """Pick from values (P, B, T, C) those of the targets (B, T): (P, B, T)."""
    return values.gather(-1, targets.expand(values.shape[:3])[..., None])[..., 0]
