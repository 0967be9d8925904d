"""What cross-entropy with the target is made of, for terms that include it: targets, mixtures, class weights.

Letters: P passes, B items, T target positions (1 for a classifier), C classes.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from seqkd.errors import ConfigError
from seqkd.losses.outputs import IGNORE, Labels


def gold_positions(labels: Labels, mask: Tensor, what: str) -> tuple[Tensor, Tensor]:
    """Targets (B, T), 0 where there is none, and (B, T) bool, where there is one.

    Args:
        labels: of one class a position.
        mask: (B, T) bool, the student's valid positions.
        what: needs them: heads the message.

    Raises:
        ConfigError: fewer targets than positions, as beside CTC.
    """
    if labels.targets.shape[1] < mask.shape[1]:
        raise ConfigError(
            f"{what} needs one target a position, but there are {labels.targets.shape[1]} targets for {mask.shape[1]} "
            "positions, as beside CTC; give it a layer with one target a position"
        )
    targets = labels.positions(mask.shape[1])
    valid = mask & (targets != IGNORE)
    return targets.clamp(min=0), valid


def mixed_in(losses: Callable[[Tensor], Tensor], targets: Tensor, labels: Labels) -> Tensor:
    """Compute the losses (P, B, T) of targets (B, T); where MixUp has mixed two, both losses in their shares."""
    found = losses(targets)
    if labels.mixed is None:
        return found
    part = labels.share.to(found)[:, None]
    return part * found + (1 - part) * losses(labels.mixed[:, : targets.shape[1]].clamp(min=0))


def class_weighted(log_probs: Tensor, labels: Labels) -> Tensor:
    """Multiply values (P, B, T, C) by the weights of the classes, if there are any."""
    return log_probs if labels.class_weights is None else log_probs * labels.class_weights.to(log_probs)


def picked(values: Tensor, targets: Tensor) -> Tensor:
    """Pick from values (P, B, T, C) those of the targets (B, T): (P, B, T)."""
    return values.gather(-1, targets.expand(values.shape[:3])[..., None])[..., 0]
