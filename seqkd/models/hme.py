"""Hierarchical mixture of experts: which classes share which blocks is learned, and can be drawn as a tree.

    student = HmeClassifier(40, 36)     # stage 1: train it, with student.advance(share of the updates done) before each
    student.entropies()                 # how undecided each layer still is
    tree = student.tree()               # the parent of each block and class
    second = student.fixed()            # stage 2: new weights in the tree that was found

Letters: B clips, T frames, F features, D channels, C classes, L mixed layers, n blocks of a layer, H units of a block;
W choice of parents (children, parents), d = softmax(W · epoch / 5) the weights of the parents of a child.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkd.errors import ConfigError
from seqkd.models.classifier import Classifier, ClassifierOutput
from seqkd.models.layers import valid_frames
from seqkd.models.rebuilding import settings_of
from seqkd.settings import at_least, between, one_of, share

HEADS = ("ce", "nce")
STEEPNESS = 5


@dataclass(frozen=True)
class BlockTree:
    """Who is whose child.

    Attributes:
        parents: of each mixed layer, the block that each child has as its parent; the children of the last layer are
            the classes. The blocks of the first layer have none.
    """

    parents: tuple[tuple[int, ...], ...]

    def path(self, item: int) -> tuple[int, ...]:
        """The blocks from the first layer down to a class."""
        found: list[int] = []
        for layer in reversed(self.parents):
            item = layer[item]
            found.append(item)
        return tuple(reversed(found))

    def paths(self) -> list[tuple[int, ...]]:
        """Of every class."""
        return [self.path(item) for item in range(len(self.parents[-1]))]


def parent_weights(choice: Tensor, epoch: Tensor | float) -> Tensor:
    """d = softmax(W · epoch / 5) of (children, parents) W: nearly a choice of one parent in the end.

    The release writes it softmax(log softmax(W / 0.5) / (10 / epoch)), which is the same, and draws no Gumbel noise.
    """
    return (choice * (epoch / STEEPNESS)).softmax(-1)


class ParentMix(nn.Module):
    """The inputs of the children of a layer: Σ_j d_ij F_j over the blocks j of the layer before.

    Attributes:
        choice: (children, parents) parameter W, from U(0, 1).
        parents: (children,) buffer, −1 as long as d is learned, then the parent of each child.
    """

    def __init__(self, parents: int, children: int) -> None:
        super().__init__()
        self.choice = nn.Parameter(torch.rand(children, parents))
        self.register_buffer("parents", torch.full((children,), -1))

    def weights(self, epoch: Tensor | float) -> Tensor:
        """(children, parents) d."""
        soft = parent_weights(self.choice, epoch)
        hard = functional.one_hot(self.parents.clamp(min=0), soft.shape[1]).to(soft)
        return torch.where(self.parents[:, None] < 0, soft, hard)

    def entropy(self, epoch: Tensor | float) -> Tensor:
        """Of d in nats, a mean over children, 0-d."""
        # Not from d itself: where d has become 0 its logarithm has no finite gradient.
        log_d = (self.choice * (epoch / STEEPNESS)).log_softmax(-1)
        entropies = -(log_d.exp() * log_d).sum(-1)
        return entropies.masked_fill(self.parents >= 0, 0.0).mean()

    def forward(self, x: Tensor, epoch: Tensor | float) -> Tensor:
        """``x`` (B, parents · H, T) -> (B, children · H, T)."""
        d = self.weights(epoch)
        blocks = x.unflatten(1, (d.shape[1], -1))
        return torch.einsum("cp,bpht->bcht", d.to(x.dtype), blocks).flatten(1, 2)


class HmeClassifier(Classifier):
    """Features (B, T, F) to classes: stages that all share, layers of small blocks, and a head a class.

    The hierarchical mixture of experts of KDExplainer (IJCAI 2021, doi:10.24963/ijcai.2021/444, arXiv:2105.04181), by
    its release: layers of 2, 4 and 8 blocks, W from U(0, 1), heads as there. Chosen, for sequences: a block is a linear
    map of a frame, rectified; of "clip" the mean over valid frames is taken behind the last layer of blocks.

    Args:
        features: F.
        classes: C.
        blocks: n of each layer.
        heads: "ce" (default), one output a head; or "nce", two outputs a head, of which the larger is the logit.
        epochs: that ``progress`` 1 stands for in d, 300 as released.
        widths: as of `Classifier`; of the shared stages, here fewer, as blocks take their place.
        strides: as of `Classifier`.
        hidden: H.
        **options: as of `Classifier`; ``dropout`` is before the heads alone.

    Attributes:
        progress: float buffer, the share of training that is done: see `advance`.
        choices: the parameters W, which a procedure may freeze or give a learning rate of their own.

    Raises:
        ConfigError: a setting out of range.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        blocks: Sequence[int] = (2, 4, 8),
        heads: str = "ce",
        epochs: int = 300,
        widths: Sequence[int] = (16, 16, 24),
        strides: Sequence[int] = (2, 1, 2),
        hidden: int = 16,
        **options: Any,
    ) -> None:
        super().__init__(features, classes, widths=widths, strides=strides, hidden=hidden, **options)
        if not isinstance(blocks, Sequence) or isinstance(blocks, str) or not blocks:
            raise ConfigError(f"blocks is {blocks!r}; expected a list, the number of blocks of one layer or more")
        blocks = list(blocks)
        for one in blocks:
            at_least(1, blocks=one)
        self.heads = one_of(HEADS, heads=heads)
        self.epochs = at_least(1, epochs=epochs)
        self.register_buffer("progress", torch.zeros(()))
        channels = self.stages[-1].conv2.out_channels
        # One convolution with a group a block: all blocks of a layer at once.
        self.hidden = nn.ModuleList([nn.Conv1d(channels, blocks[0] * hidden, 1)])
        self.hidden.extend(nn.Conv1d(n * hidden, n * hidden, 1, groups=n) for n in blocks[1:])
        outputs = HEADS.index(self.heads) + 1
        self.output = nn.Conv1d(classes * hidden, classes * outputs, 1, groups=classes)
        sizes = [*blocks, classes]
        self.mixes = nn.ModuleList(ParentMix(before, after) for before, after in pairwise(sizes))

    @property
    def choices(self) -> list[nn.Parameter]:
        """W of each mixed layer."""
        return [mix.choice for mix in self.mixes]

    @property
    def epoch(self) -> Tensor:
        """Counted from 1, 0-d."""
        return (self.progress * self.epochs).clamp(min=1)

    def advance(self, progress: float) -> None:
        """Say what share of the training is done, from 0 to 1: the choice of parents becomes steeper with it."""
        self.progress.fill_(share(progress=progress))

    def entropies(self) -> Tensor:
        """(L,) entropy of d in nats, a mean over the children of each mixed layer. It has a gradient."""
        return torch.stack([mix.entropy(self.epoch) for mix in self.mixes])

    def tree(self) -> BlockTree:
        """The parents of largest weight."""
        return BlockTree(tuple(tuple(mix.weights(self.epoch).argmax(-1).tolist()) for mix in self.mixes))

    def fixed(self, tree: BlockTree | None = None) -> HmeClassifier:
        """For stage 2: a copy with new weights, whose parents are those of a tree, by default this network's own.

        W is kept, and frozen; so are the statistics of features. The weights come from torch's global generator.
        Raises ConfigError where the tree is of other layers.
        """
        tree = self.tree() if tree is None else tree
        expected = [tuple(mix.choice.shape) for mix in self.mixes]
        fits = len(tree.parents) == len(expected) and all(
            len(layer) == children and all(0 <= parent < parents for parent in layer)
            for layer, (children, parents) in zip(tree.parents, expected, strict=True)
        )
        if not fits:
            raise ConfigError(f"the tree is {tree.parents}; expected layers of (children, parents) {expected}")
        model = copy.deepcopy(self)
        for layer in model.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
        for mix, parents in zip(model.mixes, tree.parents, strict=True):
            mix.choice.requires_grad_(False)
            mix.parents.copy_(torch.tensor(parents))
        return model

    def fit_to(self, state: Mapping[str, Tensor]) -> None:
        """Nothing: its layers do not shrink while it is trained."""

    def head(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From the last stage (B, D, T): logits (B, 1 or T, C), their lengths, last blocks (B, 1 or T, n · H)."""
        valid = valid_frames(lengths, x.shape[2])[:, None]
        x = functional.relu(self.hidden[0](x))
        for mix, layer in zip(self.mixes[:-1], self.hidden[1:], strict=True):
            x = functional.relu(layer(mix(x, self.epoch)))
        x = x.masked_fill(~valid, 0.0)
        if self.target == "clip":
            x = x.sum(-1, keepdim=True) / lengths.clamp(min=1).to(x)[:, None, None]
            lengths = torch.ones_like(lengths)
        outputs = self.output(self.dropout(self.mixes[-1](x, self.epoch)))  # (B, C · outputs, 1 or T)
        logits = outputs.unflatten(1, (len(self.mixes[-1].choice), -1)).amax(2)
        return logits.transpose(1, 2), lengths, x.transpose(1, 2)

    def forward(self, features: Tensor, lengths: Tensor, layers: Collection[str] = ()) -> ClassifierOutput:
        """Classify clips.

        Args:
            features: (B, T, F).
            lengths: (B,) valid frames.
            layers: as of `Classifier`; ``hidden`` is the last layer of blocks, and there is no ``hidden_scaled``.

        Raises:
            ConfigError: there is no such layer.
        """
        for name in layers:
            one_of([*(f"stage{number}" for number in range(1, len(self.stages) + 1)), "hidden"], layer=name)
        return super().forward(features, lengths, layers)


def as_hme(
    model: Classifier,
    *,
    shared: int | None = None,
    hidden: int = 16,
    blocks: Sequence[int] = (2, 4, 8),
    heads: str = "ce",
    epochs: int = 300,
) -> HmeClassifier:
    """A new `HmeClassifier` for the features and classes of a classifier, which is left as it is, of about its size.

    Args:
        model: its first stages' widths and strides, kernel, dropout, target, planes and statistics of features count,
            its weights do not: the new ones come from torch's global generator.
        shared: how many of its stages are shared; by default all but the last.
        hidden: H, units of a block.
        blocks: as of `HmeClassifier`, and so the next two.
        heads: "ce" or "nce".
        epochs: that ``progress`` 1 stands for.

    Raises:
        ConfigError: a setting out of range.
    """
    settings = settings_of(model)
    stages = len(model.stages)
    kept = max(1, stages - 1) if shared is None else int(between(1, stages, shared=shared))
    settings.update(widths=settings["widths"][:kept], strides=settings["strides"][:kept], hidden=hidden)
    settings.update(blocks=blocks, heads=heads, epochs=epochs)
    found = HmeClassifier(settings.pop("features"), settings.pop("classes"), **settings)
    found.feature_mean.copy_(model.feature_mean)
    found.feature_scale.copy_(model.feature_scale)
    return found.to(model.feature_mean)
