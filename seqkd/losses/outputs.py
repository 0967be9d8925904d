"""What a network gives for a batch, and what its items are to be.

Letters: P passes, B items, T frames or target positions (1 for a classifier), C classes, S labels of the longest
target, D features of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from seqkd.ctc.frames import at_least_float32, frame_mask, masked_log_softmax
from seqkd.ctc.transforms import readable
from seqkd.errors import ConfigError
from seqkd.settings import did_you_mean

IGNORE = -100  # the target of a position that is not valid, as in torch
FINAL = "output"  # the name of a network's last layer


@dataclass
class Labels:
    """What the items are to be: transcripts for CTC, a class for each position otherwise.

    Attributes:
        targets: (B, S) classes, padded with anything; S = T where there is one a position.
        lengths: (B,) labels of each item.
        labelled: (B,) bool, False for an item without labels; None for all.
        blank: class of CTC's blank.
        mixed: (B, S) targets of the items that MixUp has mixed in, None where nothing is mixed.
        share: (B,) of the first targets in a mixture, from 0 to 1.
        class_weights: (C,) of the classes in cross-entropy; None for equal ones.
        subset: (C,) which of the teacher's classes the student's are, where it has fewer; None where it has the same.
        by_position: whether losses are divided by the number of labels, as where each frame has a class, rather than by
            the number of items; see ``per_item`` of `seqkd.losses.Term`.
    """

    targets: Tensor
    lengths: Tensor
    labelled: Tensor | None = None
    blank: int = 0
    mixed: Tensor | None = None
    share: Tensor | None = None
    class_weights: Tensor | None = None
    subset: Tensor | None = None
    by_position: bool = False
    _checked: set[tuple[int, int]] = field(default_factory=set, init=False, repr=False, compare=False)

    def positions(self, positions: int) -> Tensor:
        """The targets (B, T), -100 where there is none."""
        valid = frame_mask(self.lengths, positions, self.targets.device)
        if self.labelled is not None:
            valid = valid & self.labelled.to(valid.device)[:, None]
        return self.targets[:, :positions].masked_fill(~valid, IGNORE)

    @property
    def counts(self) -> Tensor:
        """How many labels each item has: (B,), 0 for one without."""
        return self.lengths if self.labelled is None else self.lengths * self.labelled.to(self.lengths)

    def check_classes(self, valid: Tensor, classes: int) -> None:
        """Raise ValueError where a label that counts is no class.

        Looks at the values once a number of positions and classes, for a GPU is waited for.

        Args:
            valid: (B, T) bool, the positions that count.
            classes: C.
        """
        key = (valid.shape[1], classes)
        if key in self._checked or not readable(valid) or not readable(self.targets):
            return
        for targets in (self.targets, self.mixed):
            if targets is None:
                continue
            found = targets[:, : valid.shape[1]].to(valid.device)
            wrong = valid & (found != IGNORE) & ((found < 0) | (found >= classes))
            if wrong.any():
                item, position = wrong.nonzero()[0].tolist()
                raise ValueError(
                    f"item {item}: target {int(found[item, position])} at position {position} is outside "
                    f"[0, {classes}), the network's classes; expected one of them, or {IGNORE} for none"
                )
        self._checked.add(key)


@dataclass
class Outputs:
    """What a network gives for a batch.

    Attributes:
        logits: (P, B, T, C).
        lengths: (B,) valid frames or positions; what stands in the others, NaN too, changes nothing.
        layers: other layers that an objective asked for, by name: outputs too, or features (P, B, T, D) of as many
            frames as there are logits, or `Features` of their own number of frames.
        labels: of a layer whose labels are not the objective's, as those of an attention decoder beside CTC.
        hidden: (P, B, T) of a student's passes, the share of each frame's input that was masked; None for unknown.
        facts: what a teacher's whole training set has on average, by name, such as its aleatoric uncertainty: scalars.
        teachers: how many teachers, or draws of one, stand on the first axis; 1 where it is one teacher for all passes,
            or with a pass of its own for each.
        entropy: (1 or P, B, T) of the whole posteriors in nats, where a book has kept a part of them and the logits are
            made of that part.
        entropy_temperature: τ of those posteriors.
    """

    logits: Tensor
    lengths: Tensor
    layers: Mapping[str, Outputs | Features | Tensor] = field(default_factory=dict)
    labels: Labels | None = None
    facts: Mapping[str, float] = field(default_factory=dict)
    hidden: Tensor | None = None
    teachers: int = 1
    entropy: Tensor | None = None
    entropy_temperature: float = 1.0
    # Not functools.cached_property, whose lock torch.compile does not know.
    _mask: Tensor | None = field(default=None, init=False, repr=False, compare=False)
    _log_probs: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def mask(self) -> Tensor:
        """Which frames are valid: (B, T) bool."""
        if self._mask is None:
            self._mask = frame_mask(self.lengths, self.logits.shape[2], self.logits.device)
        return self._mask

    @property
    def log_probs(self) -> Tensor:
        """The log-probabilities (P, B, T, C) in float32 at least, uniform on padded frames; computed once for all
        terms.
        """
        if self._log_probs is None:
            self._log_probs = masked_log_softmax(self.logits, self.mask)
        return self._log_probs

    def tempered(self, temperature: float) -> Tensor:
        """Return log softmax(z / τ), (P, B, T, C), uniform on padded frames."""
        if temperature == 1:
            return self.log_probs
        return masked_log_softmax(at_least_float32(self.logits) / temperature, self.mask)

    def probs(self, temperature: float) -> Tensor:
        """Return softmax(z / τ), (P, B, T, C), uniform on padded frames."""
        tempered = at_least_float32(self.logits) / temperature
        return tempered.masked_fill(~self.mask[..., None], 0.0).softmax(-1)

    def at(self, layer: str) -> Outputs | Features | Tensor:
        """A layer by name; "output" is the last. Raises ConfigError if the network has not given it."""
        if layer == FINAL:
            return self
        if layer not in self.layers:
            near = did_you_mean(layer, self.layers)
            raise ConfigError(f"layer is {layer!r}, but the network gives {', '.join([FINAL, *self.layers])}{near}")
        return self.layers[layer]

    def detached(self) -> Outputs:
        """Return a copy that no gradient flows into."""
        layers = {
            name: one.detach() if isinstance(one, Tensor) else one.detached() for name, one in self.layers.items()
        }
        known = self.teachers, self.entropy, self.entropy_temperature
        return Outputs(self.logits.detach(), self.lengths, layers, self.labels, self.facts, self.hidden, *known)


@dataclass
class Features:
    """A layer's features: ``values`` (P, B, T, D), 0 on padded frames; ``lengths`` (B,); ``mask`` (B, T)."""

    values: Tensor
    lengths: Tensor
    mask: Tensor

    @classmethod
    def of(cls, values: Tensor, lengths: Tensor) -> Features:
        """Features (P, B, T, D) with what stands on padded frames, NaN too, made 0."""
        mask = frame_mask(lengths, values.shape[2], values.device)
        return cls(values.masked_fill(~mask[..., None], 0.0), lengths, mask)

    def detached(self) -> Features:
        """Return a copy that no gradient flows into."""
        return Features(self.values.detach(), self.lengths, self.mask)


def labels_of(layer: Outputs | Features, labels: Labels) -> Labels:
    """The labels of a layer: its own, if it has any, or the objective's."""
    return layer.labels if isinstance(layer, Outputs) and layer.labels is not None else labels


def layer_of(outputs: Outputs, name: str) -> Outputs | Features:
    """A layer by name: outputs, or features with their mask, in float32 at least."""
    layer = outputs.at(name)
    if isinstance(layer, Tensor):
        layer = Features.of(layer, outputs.lengths)
    return Features(at_least_float32(layer.values), layer.lengths, layer.mask) if isinstance(layer, Features) else layer
