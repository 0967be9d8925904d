"""What a trained classifier gives for a set: ``decode_<set>/decoded.safetensors``.

One value a position (a clip, or a frame of it), one clip after the other: ``predicted`` (K,), ``confidence`` (K,),
``nll`` (K,) of the right class in nats, ``brier`` (K,), and ``lengths`` (N,), positions of each clip. Where the classes
are a subset, only its clips are decoded, and outputs of other classes are left out and the rest normalised: ``rows``
(N,) are the clips' places in their set. Numbers of classes are those of ``classes.txt``.

Letters: N clips, K positions of all of them, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from seqkd.classification.batches import Clips, evaluation_clips
from seqkd.errors import DataError
from seqkd.files import atomic_path
from seqkd.losses.outputs import IGNORE
from seqkd.stages import again
from seqkd.uptodate import write_stamp

FILE, STAMP = "decoded.safetensors", "decode.json"


@dataclass(frozen=True)
class Decoded:
    """Predictions for clips: at each position the class, its probability, the label's NLL and the Brier score."""

    predicted: np.ndarray
    confidence: np.ndarray
    nll: np.ndarray
    brier: np.ndarray
    lengths: np.ndarray
    rows: np.ndarray


@torch.no_grad()
def decode_clips(model: nn.Module, clips: Clips, subset: Sequence[int] | None = None) -> Decoded:
    """Classify clips.

    Args:
        model: in eval mode, of all classes or of those of the subset alone.
        clips: with targets of the set's own numbers.
        subset: the numbers of the classes that count; None for all.
    """
    found: dict[str, list[torch.Tensor]] = {name: [] for name in ("predicted", "confidence", "nll", "brier", "lengths")}
    names = None if subset is None else torch.tensor(list(subset))
    for batch in evaluation_clips(clips):
        logits = model(batch.features, batch.lengths).logits.float()  # (B, S, C)
        if names is not None and logits.shape[-1] > len(names):
            logits = logits[..., names]
        valid = batch.targets != IGNORE
        targets = batch.targets[valid]  # (K,)
        places = targets if names is None else torch.searchsorted(names, targets)
        log_probs = logits[valid].log_softmax(-1)
        probs = log_probs.exp()
        confidence, best = probs.max(-1)
        at_target = log_probs.gather(-1, places[:, None])[:, 0]
        found["predicted"].append(best if names is None else names[best])
        found["confidence"].append(confidence)
        found["nll"].append(-at_target)
        found["brier"].append(probs.square().sum(-1) - 2 * at_target.exp() + 1)
        found["lengths"].append(valid.sum(1))
    joined = {name: torch.cat(parts).numpy() for name, parts in found.items()}
    return Decoded(**joined, rows=clips.rows.numpy())


def write_decoded(output: Path, decoded: Decoded, made_by: dict[str, Any]) -> None:
    """Write a decoding; the stamp comes last."""
    from safetensors.numpy import save_file

    output.mkdir(parents=True, exist_ok=True)
    (output / STAMP).unlink(missing_ok=True)
    with atomic_path(output / FILE) as path:
        save_file({name: np.ascontiguousarray(value) for name, value in vars(decoded).items()}, path)
    write_stamp(output / STAMP, made_by)


def read_decoded(output: Path) -> Decoded:
    """What `write_decoded` wrote. Raises DataError where there is nothing finished, or it is damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not (output / STAMP).is_file():
        raise DataError(f"{output} has nothing decoded; {again('decode')}")
    try:
        return Decoded(**load_file(output / FILE))
    except (OSError, SafetensorError, TypeError) as error:
        raise DataError(f"{output / FILE} is damaged ({error}); delete it and {again('decode')}") from error
