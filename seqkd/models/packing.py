"""Quantised networks as small files: 5 ternary weights a byte, 3 bits for 7 levels, 4 for 15, int8 for outer layers.

    size = save_packed(path, student)      # bytes on disk
    network = load_packed(path, Classifier(...).eval())

A file holds four vectors, in the order of the network's own layers, as the names of a hundred small tensors would take
more room than the weights of a small network: ``few`` (packed levels), ``many`` (int8 levels of outer layers),
``steps`` (float32 Δ of each layer) and ``rest`` (float32: biases, normalisation). It is never unpickled.

Letters: M levels, Δ the step between them, n a weight's level, N weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from seqkd.errors import ConfigError, DataError
from seqkd.files import atomic_path
from seqkd.models.quantised import LEVELS, quantised_layers
from seqkd.models.reparametrised import plain, weighted_layers
from seqkd.settings import one_of

Network = TypeVar("Network", bound=nn.Module)

FORMAT = "seqkd packed weights 1"
GROUPS = {3: (3, 5, 1), 7: (8, 8, 3), 15: (16, 2, 1)}  # of M: base of a digit, digits of a group, bytes of a group


def packed_bytes(weights: int, levels: int) -> int:
    """Bytes that so many weights of M levels take."""
    _, digits, size = GROUPS[one_of(LEVELS, levels=levels)]
    return -(-weights // digits) * size


def pack_levels(n: Tensor, levels: int) -> Tensor:
    """Levels to bytes.

    Args:
        n: (N,) or any shape, whole numbers from −(M−1)/2 to (M−1)/2.
        levels: M, one of 3, 7 and 15.

    Returns:
        uint8, one dimension, of `packed_bytes`. A group of digits n + (M−1)/2, the first the least, is a number to base
        3, 8 or 16, whose bytes stand from the least.

    Raises:
        ConfigError: another M, or a level out of range.
    """
    base, digits, size = GROUPS[one_of(LEVELS, levels=levels)]
    flat = n.flatten().long() + (levels - 1) // 2
    if flat.numel() and not 0 <= int(flat.min()) <= int(flat.max()) < levels:
        raise ConfigError(f"n is from {int(n.min())} to {int(n.max())}; expected at most {levels // 2} either way")
    flat = functional.pad(flat, (0, -len(flat) % digits)).view(-1, digits)
    groups = (flat * base ** torch.arange(digits, device=n.device)).sum(1)
    return (groups[:, None] >> 8 * torch.arange(size, device=n.device)).bitwise_and(255).to(torch.uint8).flatten()


def unpack_levels(packed: Tensor, weights: int, levels: int) -> Tensor:
    """The (N,) int8 levels that `pack_levels` packed. Raises ConfigError where the bytes are not as many as N takes."""
    base, digits, size = GROUPS[one_of(LEVELS, levels=levels)]
    if len(packed) != packed_bytes(weights, levels):
        expected = packed_bytes(weights, levels)
        raise ConfigError(f"packed has {len(packed)} bytes; expected {expected} for {weights} weights")
    groups = (packed.view(-1, size).long() << 8 * torch.arange(size, device=packed.device)).sum(1)
    flat = groups[:, None] // base ** torch.arange(digits, device=packed.device) % base
    return (flat.flatten()[:weights] - (levels - 1) // 2).to(torch.int8)


@torch.no_grad()
def save_packed(path: Path | str, model: nn.Module) -> int:
    """Write a `quantised` network, as it is in evaluation.

    A weight is Δ·n, and stays so: batch normalisation (γ, β, running mean μ and variance v) becomes a scale
    γ / √(v + ε) and a bias β − μ·scale of each channel, kept beside the convolution, of half the size.

    Returns:
        Bytes on disk.

    Raises:
        ConfigError: the network has no quantised weights, or numbers other than float32.
    """
    from safetensors.torch import save_file

    weights = quantised_layers(model)
    if not weights:
        raise ConfigError("the network has no quantised weights; expected one of seqkd.models.quantised.quantised")
    layers = dict(weighted_layers(model))
    codes = {name: one.codes(layers[name].parametrizations.weight.original) for name, one in weights.items()}
    inner = {one.levels for one in weights.values()} & set(LEVELS)
    few = [codes[name].flatten() for name, one in weights.items() if one.levels in LEVELS]
    many = [codes[name].flatten() for name, one in weights.items() if one.levels not in LEVELS]
    levels = max(inner, default=LEVELS[0])
    if len(inner) > 1:
        raise ConfigError(f"layers have {sorted(inner)} levels; expected one number but for outer layers")
    network = plain(model)
    fingerprint = _fingerprint(network, weights)
    for norm in filter(_folds, network.modules()):
        _fold(norm)
    tensors = {
        "few": pack_levels(torch.cat(few), levels) if few else torch.zeros(0, dtype=torch.uint8),
        "many": torch.cat(many) if many else torch.zeros(0, dtype=torch.int8),
        "steps": torch.stack([one.step for one in weights.values()]),
        "rest": torch.cat([value.flatten() for value in _rest(network, weights)]),
    }
    for name in ("steps", "rest"):
        if tensors[name].dtype != torch.float32:
            raise ConfigError(f"the network has numbers of type {tensors[name].dtype}; expected torch.float32")
    numbers = [weights[name].levels if name in weights else 0 for name in layers]
    metadata = {"format": FORMAT, "levels": json.dumps(numbers), "network": fingerprint}
    with atomic_path(path) as temporary:
        save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, temporary, metadata)
    return Path(path).stat().st_size


@torch.no_grad()
def load_packed(path: Path | str, model: Network) -> Network:
    """Fill an ordinary network of the same shape with what `save_packed` wrote, and return it.

    Its weights are Δ·n in float32, as in the quantised network, and its normalisation a scale and a bias (running
    mean 0, v = 1 − ε): in evaluation, on the CPU, its logits are bit for bit those of the quantised network.

    Raises:
        DataError: the file is not there, is no such file, or was written from a network of another shape.
    """
    tensors, metadata = _read(Path(path))
    layers = list(weighted_layers(model))
    levels = json.loads(metadata["levels"])
    names = [name for (name, _), m in zip(layers, levels, strict=False) if m]
    if len(levels) != len(layers) or metadata["network"] != _fingerprint(model, names):
        raise DataError(f"{path}: was written from a network of another shape; build the one it was written from")
    sizes = [layer.weight.numel() if m in LEVELS else 0 for (_, layer), m in zip(layers, levels, strict=True)]
    few = unpack_levels(tensors["few"], sum(sizes), max((m for m in levels if m in LEVELS), default=LEVELS[0]))
    many, rest, steps = tensors["many"], tensors["rest"], iter(tensors["steps"])
    for (_, layer), m in zip(layers, levels, strict=True):
        size = layer.weight.numel()
        if m in LEVELS:
            n, few = few[:size], few[size:]
        elif m:
            n, many = many[:size], many[size:]
        else:
            continue
        layer.weight.copy_(n.view_as(layer.weight).to(torch.float32) * next(steps))
    for value in _rest(model, names):
        size = value.numel()
        value.copy_(rest[:size].view_as(value))
        rest = rest[size:]
    for norm in model.modules():
        if _folds(norm):
            norm.running_mean.zero_()
            norm.running_var.fill_(1 - norm.eps)  # v + ε is exactly 1 in float32
    return model


def _folds(layer: nn.Module) -> bool:
    return isinstance(layer, _BatchNorm) and layer.affine and layer.track_running_stats


def _rest(model: nn.Module, quantised: Collection[str]) -> Iterator[Tensor]:
    """All numbers but quantised weights and statistics of norms, in an order that the network's shape decides."""
    for name, layer in model.named_modules():
        own = {**dict(layer.named_parameters(recurse=False)), **dict(layer.named_buffers(recurse=False))}
        without = {"weight"} if name in quantised else set()
        if _folds(layer):
            without = {"running_mean", "running_var", "num_batches_tracked"}
        yield from (own[key] for key in sorted(own) if key not in without)


def _fold(norm: _BatchNorm) -> None:
    """Make the weight the scale of each channel, and the bias all that is added."""
    # Asked of torch's own kernel, whose order of rounding is its own: what it makes of 1 and of 0.
    one = functional.batch_norm(
        torch.ones_like(norm.weight)[None],
        torch.zeros_like(norm.running_mean),
        norm.running_var,
        norm.weight,
        torch.zeros_like(norm.bias),
        eps=norm.eps,
    )
    zero = functional.batch_norm(
        torch.zeros_like(norm.weight)[None], norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
    )
    norm.weight.copy_(one[0])
    norm.bias.copy_(zero[0])


def _fingerprint(model: nn.Module, quantised: Collection[str]) -> str:
    """Of the shape of a network without parametrizations."""
    layers = [(name, tuple(layer.weight.shape)) for name, layer in weighted_layers(model)]
    shape = repr((layers, [tuple(value.shape) for value in _rest(model, quantised)]))
    return hashlib.sha256(shape.encode()).hexdigest()[:16]


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise DataError(f"{path}: there is no such file; expected one of packed weights")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: cannot be read ({error}); write it again") from error
    if metadata.get("format") != FORMAT:
        raise DataError(f"{path}: is no file of packed weights; expected one that save_packed wrote")
    return tensors, metadata
