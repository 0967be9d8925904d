"""A student's blocks put in the place of a teacher's, one at a time and then one after another (network grafting).

    student = GraftedClassifier(40, 36, copied=1, widths=(64, 16, 24, 32), ...)  # the first width is the teacher's
    grafted = Grafted(teacher, student)
    for block in grafted.blocks:                 # stage 1: each block alone between the teacher's
        grafted.block(block)                     # ... train grafted: its logits against the teacher's
    for block in grafted.blocks[1:]:             # stage 2: from the front, the teacher's tail is replaced
        grafted.chain(block)                     # ... train
    network = fold_adaptors(grafted)             # a GraftedClassifier: no teacher, no adaptors

Blocks are numbered as stages are, from 1; the last, one more than there are stages, is the head: hidden and output
layer.

After "Progressive network grafting for few-shot knowledge distillation" (AAAI 2021, released for VGG16) and its use
with several teachers (ICAICE 2021, doi:10.1109/icaice54393.2021.00127). As released: the front is copied from the
teacher and frozen, each other block learns between 1×1 convolutions (adaptors), none before the first and none after
the last such block; the adaptors stay when blocks are chained. Ours: adaptors have no bias, so that they fold exactly
into the zero-padded convolutions after them; the teacher's norms never run on the statistics of a batch.

Letters: B clips, T frames, F features, D channels, C classes; S student, T teacher.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from seqkd.errors import ConfigError
from seqkd.models.classifier import Classifier, ClassifierOutput
from seqkd.models.rebuilding import settings_of
from seqkd.settings import between, one_of


class GraftedClassifier(Classifier):
    """A `Classifier` whose first stages are a teacher's: frozen, and as in evaluation whatever mode it is in.

    Stages behind the first of its own have a convolution as shortcut even where inputs and outputs are as many (the
    identity at first), so that an adaptor before them folds.

    Args:
        features: F.
        classes: C.
        copied: how many stages (and a stem) are the teacher's, at least 1: `copy_front` copies them.
        **options: as of `Classifier`; the first ``copied`` widths are the teacher's.

    Raises:
        ConfigError: a setting out of range.
    """

    def __init__(self, features: int, classes: int, *, copied: int = 1, **options: Any) -> None:
        super().__init__(features, classes, **options)
        self.copied = int(between(1, len(self.stages), copied=copied))
        for stage in self.stages[self.copied + 1 :]:
            if isinstance(stage.shortcut, nn.Identity):
                channels = stage.conv1.in_channels
                stage.shortcut = nn.Conv1d(channels, channels, 1, bias=False)
                nn.init.dirac_(stage.shortcut.weight)
        for part in self._front_parts():
            part.requires_grad_(False)
        self.train(self.training)

    def _front_parts(self) -> list[nn.Module]:
        return [*([] if self.stem is None else [self.stem]), *self.stages[: self.copied]]

    def train(self, mode: bool = True) -> GraftedClassifier:
        """Set the mode of all but the copied front."""
        super().train(mode)
        for part in self._front_parts():
            part.eval()
        return self

    def copy_front(self, teacher: Classifier) -> GraftedClassifier:
        """Take the teacher's statistics of features, its stem and first stages. Raises ConfigError if they differ."""
        for name in ("stages", "target", "classes", "features"):
            own, other = _shape(self)[name], _shape(teacher)[name]
            if own != other:
                raise ConfigError(f"the student's {name}: {own}, the teacher's: {other}; expected the same")
        kept = tuple(f"stages.{number}." for number in range(self.copied))
        kept = ("feature_mean", "feature_scale", "stem.", *kept)
        own = {name: value for name, value in self.state_dict().items() if name.startswith(kept)}
        other = {name: value for name, value in teacher.state_dict().items() if name.startswith(kept)}
        for name in sorted({*own, *other}):
            shapes = [tuple(state[name].shape) if name in state else "not there" for state in (own, other)]
            if shapes[0] != shapes[1]:
                raise ConfigError(
                    f"{name} is {shapes[0]} in the student, {shapes[1]} in the teacher; expected the teacher's widths "
                    f"and kernel in the first {self.copied} stage(s), which are copied"
                )
        self.load_state_dict(other, strict=False)
        return self


def as_grafted(model: Classifier, *, copied: int = 1) -> GraftedClassifier:
    """A new `GraftedClassifier` of a classifier's shape, which is left as it is; its weights are not taken over.

    Raises ConfigError where ``copied`` is out of range.
    """
    return GraftedClassifier(copied=copied, **settings_of(model))


class Grafted(nn.Module):
    """A teacher some of whose blocks are the student's; its forward is that of `Classifier`.

    T_after ∘ A_s2t ∘ S_b ∘ A_t2s ∘ T_before of one block, or of a chain of blocks from the front. What is in place, and
    only that, is trained: `block` and `chain` choose, and set ``requires_grad``. Both networks and all adaptors are in
    the state dict, whichever is in place. At first the student's first block is.

    Args:
        teacher: is copied; frozen and in evaluation, whatever mode this is in.
        student: takes the teacher's front (`GraftedClassifier.copy_front`), and is trained in place.

    Attributes:
        blocks: numbers of the blocks that are grafted.
        enter: adaptors from the teacher's width before a block, by its number: all but the first block.
        leave: adaptors to the teacher's width behind a block: all but the last.

    Raises:
        ConfigError: the networks' stages do not correspond.
    """

    def __init__(self, teacher: Classifier, student: GraftedClassifier) -> None:
        super().__init__()
        self.student = student.copy_front(teacher)
        self.teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
        self.blocks = tuple(range(student.copied + 1, len(student.stages) + 2))
        wide, narrow = ([stage.conv2.out_channels for stage in network.stages] for network in (teacher, student))
        self.enter = nn.ModuleDict(
            {str(b): nn.Conv1d(wide[b - 2], narrow[b - 2], 1, bias=False) for b in self.blocks[1:]}
        )
        self.leave = nn.ModuleDict(
            {str(b): nn.Conv1d(narrow[b - 1], wide[b - 1], 1, bias=False) for b in self.blocks[:-1]}
        )
        self.block(self.blocks[0])

    def block(self, number: int) -> Grafted:
        """Put one block of the student in place, alone. Raises ConfigError where there is no such block."""
        return self._place(number, number)

    def chain(self, last: int) -> Grafted:
        """Put the student's blocks from the first to ``last`` in place. Raises ConfigError where there is none."""
        return self._place(self.blocks[0], last)

    def _place(self, first: int, last: int) -> Grafted:
        one_of(self.blocks, block=last)
        self.first, self.last = first, last
        self.requires_grad_(False)
        for number in range(first, last + 1):
            for part in (*self._adaptors(number).values(), *self._parts(number)):
                part.requires_grad_(True)
        return self

    def _parts(self, number: int) -> list[nn.Module]:
        student = self.student
        return [student.hidden, student.output] if number == self.blocks[-1] else [student.stages[number - 1]]

    def _adaptors(self, number: int) -> dict[str, nn.Module]:
        found = {"enter": self.enter, "leave": self.leave}
        return {name: ones[str(number)] for name, ones in found.items() if str(number) in ones}

    def train(self, mode: bool = True) -> Grafted:
        """Set the mode of the student and of adaptors; the teacher stays in evaluation."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, features: Tensor, lengths: Tensor, layers: Collection[str] = ()) -> ClassifierOutput:
        """Classify clips.

        Args:
            features: (B, T, F).
            lengths: (B,) valid frames.
            layers: names of layers to give as well, of the network that is in place there: ``stage1``, ..., ``hidden``.

        Raises:
            ConfigError: there is no such layer.
        """
        stages = len(self.teacher.stages)
        known = [*(f"stage{number}" for number in range(1, stages + 1)), "hidden"]
        for name in layers:
            one_of(known, layer=name)
        found: dict[str, tuple[Tensor, Tensor]] = {}
        x, lengths = self.teacher.front(features, lengths)
        for number in range(1, stages + 2):
            own = self.first <= number <= self.last
            network, adaptors = (self.student, self._adaptors(number)) if own else (self.teacher, {})
            if "enter" in adaptors:
                x = adaptors["enter"](x)
            if number > stages:
                logits, lengths, x = network.head(x, lengths)
                found["hidden"] = (x, lengths)
                break
            x, lengths = network.stages[number - 1](x, lengths)
            found[f"stage{number}"] = (x.transpose(1, 2), lengths)
            if "leave" in adaptors:
                x = adaptors["leave"](x)
        return ClassifierOutput(logits, lengths, {name: found[name] for name in layers})


@torch.no_grad()
def fold_adaptors(grafted: Grafted) -> GraftedClassifier:
    """The student alone, a copy, with both adaptors before a block in that block's first weights: the same logits.

    conv(A·x) = (conv·A)(x), at the borders too, where x is 0, as adaptors have no bias. It is built by the settings of
    `GraftedClassifier`, or by those of `Classifier` with the same widths if no stage of its own, behind the first, has
    as many outputs as inputs at stride 1. Its front stays frozen, all else can be trained.
    """
    student = copy.deepcopy(grafted.student)
    for number in grafted.blocks[1:]:
        into, out = grafted.enter[str(number)].weight[:, :, 0], grafted.leave[str(number - 1)].weight[:, :, 0]
        if number == grafted.blocks[-1]:
            student.hidden.weight.copy_(student.hidden.weight @ (into @ out))
            continue
        stage = student.stages[number - 1]
        for layer in (stage.conv1, stage.shortcut):
            layer.weight.copy_(torch.einsum("oik,ij->ojk", layer.weight, into @ out))
    student.requires_grad_(True)
    for part in student._front_parts():
        part.requires_grad_(False)
    return student


def _shape(model: Classifier) -> dict[str, Any]:
    return {
        "stages": f"{len(model.stages)} of strides {[stage.stride for stage in model.stages]}",
        "target": model.target,
        "classes": model.output.out_features,
        "features": len(model.feature_mean),
    }
