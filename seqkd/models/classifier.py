"""A small convolutional network from frames to one class a clip, or one a frame.

Four or so residual stages of convolutions over time, a mean over the frames (unless every frame has a class), a hidden
layer of rectified units, and the output. Stages, hidden layer and output are separate modules, so that a stage can be
grafted, its weights quantised or regrouped, and hidden units pruned.

Letters: B clips, T frames, F feature bins, D channels, H hidden units, C classes, K kernel.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional

from seqkd.errors import ConfigError
from seqkd.models.layers import valid_frames
from seqkd.settings import at_least, less_than, one_of

TARGETS = ("clip", "frame")


@dataclass
class ClassifierOutput:
    """What `Classifier` gives.

    Attributes:
        logits: (B, 1, C), or (B, T, C) of a class a frame.
        lengths: (B,) valid positions of the logits.
        layers: those asked for, by name: values (B, T', D) and their (B,) lengths.
    """

    logits: Tensor
    lengths: Tensor
    layers: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of (B, D, T) whose statistics are those of valid frames alone."""

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """``x`` (B, D, T), ``valid`` (B, T) bool, or None if all frames are."""
        together = self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if not self.training or (valid is None and not together):
            return super().forward(x)
        if valid is None:
            valid = x.new_ones(x[:, 0].shape, dtype=torch.bool)
        rows = x.transpose(1, 2)[valid]  # (N, D)
        normalised = torch.zeros_like(x.transpose(1, 2))
        normalised[valid] = (self.over_processes(rows) if together else super().forward(rows)).to(normalised.dtype)
        return normalised.transpose(1, 2)

    def over_processes(self, rows: Tensor) -> Tensor:
        """Rows (N, D) by the statistics of all processes' rows, so that their number changes nothing."""
        from torch.distributed.nn.functional import all_reduce  # which has a gradient

        rows = rows if rows.dtype == torch.float64 else rows.float()
        count = all_reduce(rows.new_tensor([len(rows)]))
        mean = all_reduce(rows.sum(0)) / count
        variance = all_reduce((rows - mean).square().sum(0)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
            self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var), self.momentum)
        return (rows - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias


def frames_to_mask(lengths: Tensor, frames: int, training: bool) -> Tensor | None:
    """(B, T) bool, true where a frame is valid; None where clips that are trained on have no padding.

    Masks would change nothing there, and cost a tenth of an update on a CPU.
    """
    valid = valid_frames(lengths, frames)
    return None if training and valid.all() else valid


def masked(x: Tensor, valid: Tensor | None) -> Tensor:
    """``x`` (B, D, T), 0 where ``valid`` (B, T), if given, is false."""
    return x if valid is None else x.masked_fill(~valid[:, None], 0.0)


class Stage(nn.Module):
    """Two convolutions beside a shortcut: (B, D, T) -> (B, D', ⌈T / stride⌉), rectified, 0 where padded."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv1d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm1 = MaskedBatchNorm(outputs)
        self.conv2 = nn.Conv1d(outputs, outputs, kernel, 1, kernel // 2, bias=False)
        self.norm2 = MaskedBatchNorm(outputs)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv1d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """``x`` (B, D, T), 0 where padded; ``lengths`` (B,)."""
        lengths, inner = -(-lengths // self.stride), self.conv1(x)
        # Not by the same formula as lengths: ONNX rounds -T // stride towards 0.
        valid = frames_to_mask(lengths, inner.shape[2], self.training)
        inner = masked(functional.relu(self.norm1(inner, valid)), valid)
        outer = self.norm2(self.conv2(inner), valid) + self.shortcut(x)
        return masked(functional.relu(outer), valid), lengths


class PlaneStem(nn.Module):
    """Images as frames: (B, T, planes · height) columns of pixels -> (B, T/4, D) by two strided 2-D convolutions."""

    def __init__(self, features: int, planes: int, channels: int) -> None:
        super().__init__()
        if features % planes:
            raise ConfigError(f"planes is {planes}; expected a divisor of the {features} values of a column")
        self.planes = planes
        self.conv1 = nn.Conv2d(planes, channels, 3, 2, 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, 2, 1)
        self.outputs = channels * -(-features // planes // 4)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """``x`` (B, T, planes · height), 0 where padded; ``lengths`` (B,) in columns, and then in frames."""
        x = x.unflatten(-1, (self.planes, -1)).permute(0, 2, 3, 1)  # (B, planes, height, T)
        for layer in (self.conv1, self.conv2):
            x, lengths = functional.relu(layer(x)), -(-lengths // 2)
            x = x.masked_fill(~valid_frames(lengths, x.shape[3])[:, None, None], 0.0)
        return x.permute(0, 3, 1, 2).flatten(2), lengths


class Classifier(nn.Module):
    """Features (B, T, F) to classes.

    Args:
        features: F.
        classes: C.
        widths: channels of each stage.
        strides: of each stage along time; all 1 for a class a frame.
        kernel: K, odd.
        hidden: H.
        dropout: before and after the hidden layer, from 0 to less than 1.
        target: "clip", or "frame" for a class a frame.
        planes: colours of images, whose columns are the frames; 0 for sounds.

    Raises:
        ConfigError: a setting out of range, or strides beside a class a frame.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        widths: Sequence[int] = (16, 16, 24, 32),
        strides: Sequence[int] = (2, 1, 2, 1),
        kernel: int = 3,
        hidden: int = 32,
        dropout: float = 0.1,
        target: str = "clip",
        planes: int = 0,
    ) -> None:
        super().__init__()
        lists = isinstance(widths, Sequence) and isinstance(strides, Sequence)
        widths, strides = (list(widths), list(strides)) if lists else (widths, strides)
        for width in widths if lists else ():
            at_least(1, widths=width)
        for stride in strides if lists else ():
            at_least(1, strides=stride)
        if not lists or not widths or len(widths) != len(strides):
            raise ConfigError(f"widths is {widths} and strides {strides}; expected one of each a stage")
        if at_least(1, kernel=kernel) % 2 == 0:
            raise ConfigError(f"kernel is {kernel}; expected an odd number")
        at_least(1, hidden=hidden)
        at_least(0, planes=planes)
        self.target = one_of(TARGETS, target=target)
        if target == "frame" and (max(strides) > 1 or planes):
            raise ConfigError(f"strides is {strides}; expected 1 everywhere where each frame has a class")
        self.register_buffer("feature_mean", torch.zeros(features))
        self.register_buffer("feature_scale", torch.ones(features))
        self.stem = PlaneStem(features, planes, widths[0]) if planes else None
        sizes = [self.stem.outputs if self.stem else features, *widths]
        self.stages = nn.ModuleList(
            Stage(before, after, kernel, stride) for before, after, stride in zip(sizes, widths, strides, strict=False)
        )
        self.hidden = nn.Linear(widths[-1], hidden)
        self.dropout = nn.Dropout(less_than(0, 1, dropout=dropout))
        self.output = nn.Linear(hidden, classes)

    def normalise(self, mean: Tensor, std: Tensor) -> None:
        """Let the network take features of this mean and standard deviation, each (F,), to 0 and 1."""
        self.feature_mean.copy_(mean)
        self.feature_scale.copy_(1 / std.clamp(min=1e-5))

    def fit_to(self, state: Mapping[str, Tensor]) -> None:
        """Take the number of hidden units that the weights of another state have, as after units were pruned."""
        weight = state.get("hidden.weight")  # not there where it is computed from others, which no one prunes
        width = self.hidden.out_features if weight is None else weight.shape[0]
        if width != self.hidden.out_features:
            self.hidden = nn.Linear(self.hidden.in_features, width).to(self.feature_mean.device)
            self.output = nn.Linear(width, self.output.out_features).to(self.feature_mean.device)

    def front(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What the first stage is given, (B, D, T), 0 where padded, and its lengths."""
        x = (features - self.feature_mean) * self.feature_scale
        x = masked(x.transpose(1, 2), frames_to_mask(lengths, x.shape[1], self.training))
        if self.stem is not None:
            x, lengths = self.stem(x.transpose(1, 2), lengths)
            return x.transpose(1, 2), lengths
        return x, lengths

    def head(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From the last stage (B, D, T): logits (B, 1 or T, C), their lengths, and hidden units (B, 1 or T, H)."""
        if self.target == "clip":
            x = x.sum(-1, keepdim=True) / lengths.clamp(min=1).to(x)[:, None, None]
            lengths = torch.ones_like(lengths)
        hidden = functional.relu(self.hidden(self.dropout(x.transpose(1, 2))))
        return self.output(self.dropout(hidden)), lengths, hidden

    def forward(self, features: Tensor, lengths: Tensor, layers: Collection[str] = ()) -> ClassifierOutput:
        """Classify clips.

        Args:
            features: (B, T, F).
            lengths: (B,) valid frames; what stands in the others, NaN too, changes nothing.
            layers: names of layers to give as well: ``stage1``, ..., ``hidden`` (rectified units), ``hidden_scaled``
                (each times the norm of the weights that read it), ``blocks`` where the network has any.

        Raises:
            ConfigError: there is no such layer.
        """
        found: dict[str, tuple[Tensor, Tensor]] = {}
        x, lengths = self.front(features, lengths)
        for number, stage in enumerate(self.stages, 1):
            x, lengths = stage(x, lengths)
            if f"stage{number}" in layers:
                found[f"stage{number}"] = (x.transpose(1, 2), lengths)
        logits, positions, hidden = self.head(x, lengths)
        if "hidden" in layers:
            found["hidden"] = (hidden, positions)
        if "hidden_scaled" in layers:
            found["hidden_scaled"] = (hidden * self.output.weight.norm(dim=0), positions)
        if "blocks" in layers and (blocks := block_logits(self)) is not None:
            found["blocks"] = (blocks.expand(len(logits), -1, -1), lengths.new_full((len(logits),), len(blocks)))
        for name in layers:
            if name not in found:
                known = [*(f"stage{n}" for n in range(1, len(self.stages) + 1)), "hidden", "hidden_scaled"]
                raise ConfigError(f"layer is {name!r}; this network has {', '.join(known)}")
        return ClassifierOutput(logits, positions, found)


def block_logits(model: nn.Module) -> Tensor | None:
    """(J, G) attention logits of all layers whose weights are attended by blocks, or None if there is none.

    A row is an output block, whose softmax over input blocks is its attention: logits are divided by the temperature.
    """
    found = [layer.attention / layer.temperature for layer in model.modules() if hasattr(layer, "attention")]
    return torch.cat(found) if found else None


def multiply_adds(model: Classifier, frames: int) -> int:
    """Multiplications of one clip of that many frames, counted in the convolutions and linear layers that run."""
    total = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += output.numel() * layer.weight[0].numel()

    kinds = (nn.Conv1d, nn.Conv2d, nn.Linear)
    hooks = [layer.register_forward_hook(count) for layer in model.modules() if isinstance(layer, kinds)]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model(torch.zeros(1, frames, len(model.feature_mean)), torch.tensor([frames]))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return total
