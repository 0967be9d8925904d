"""What an entry may be made of: posteriors, hard targets and uncertainties, checked before anything is kept.

Letters: T frames (or target positions, or seconds), C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from seqkd.errors import ConfigError, DataError
from seqkd.knowledge.ensemble import Uncertainty
from seqkd.knowledge.manifest import Manifest

_SLACK = 0.02  # of a row's sum: half-precision log-probabilities of a live teacher are that far off


def checked(log_probs: Tensor, manifest: Manifest, where: str) -> np.ndarray:
    """(T, C) log-probabilities as float32 whose rows sum to 1; DataError if they are none."""
    rows = torch.as_tensor(log_probs).detach()
    if rows.ndim != 2 or not rows.is_floating_point():
        raise DataError(f"{where} has a posterior of shape {tuple(rows.shape)}, {rows.dtype}; expected (T, C) floats")
    if rows.shape[1] != manifest.classes:
        raise DataError(
            f"{where} has a posterior of {rows.shape[1]} classes and the manifest says {manifest.classes}; expected "
            "the teacher's output in the book's units"
        )
    if len(rows) == 0:
        raise DataError(f"{where} has no frames; leave it out")
    rows = rows.cpu().float()
    total = rows.logsumexp(-1)
    wrong = total.isnan() | (total == torch.inf)  # -inf is a class that cannot be
    if wrong.any():
        frame = int(wrong.nonzero()[0])
        bad = rows[frame][~(rows[frame] < torch.inf)][0]
        raise DataError(
            f"{where} has a posterior with {bad:g} at frame {frame} ({int(wrong.sum())} such frames); check the teacher"
        )
    off = total.exp().sub(1).abs() > _SLACK
    if off.any():
        frame = int(off.nonzero()[0])
        raise DataError(
            f"{where} has probabilities that add up to {float(total[frame].exp()):.4g} at frame {frame}; expected "
            "log-probabilities, such as (logits / temperature).log_softmax(-1)"
        )
    return (rows - total[:, None]).numpy()


def regularised(rows: np.ndarray, targets: Tensor | Sequence[int] | None, share: float, where: str) -> np.ndarray:
    """(T, C) log of (1 − ε_b) p + ε_b y, y one-hot of ``targets`` (T,)."""
    targets = None if targets is None else np.asarray(targets)
    if targets is None or targets.shape != (len(rows),):
        found = "no targets" if targets is None else f"targets of shape {targets.shape}"
        raise DataError(f"{where} has {found}; a regularised book needs a class for each of its {len(rows)} frames")
    if not (targets.min() >= 0 and targets.max() < rows.shape[1]):
        raise DataError(f"{where} has a target outside of the classes 0 to {rows.shape[1] - 1}")
    probs = (1 - share) * np.exp(rows)
    probs[np.arange(len(rows)), targets] += share
    with np.errstate(divide="ignore"):
        return np.log(probs)


def uncertainty_fields(
    uncertainty: Uncertainty | None, manifest: Manifest, frames: int, where: str
) -> dict[str, np.ndarray]:
    """(T,) aleatoric and epistemic as they are stored, nothing if the manifest has none; raises where they disagree."""
    if (uncertainty is not None) != manifest.uncertainty:
        said = "with" if uncertainty is not None else "without"
        raise ConfigError(
            f"{where} comes {said} uncertainty, but the manifest says otherwise; all entries have it or none"
        )
    if uncertainty is None:
        return {}
    found = {}
    for name in ("aleatoric", "epistemic"):
        value = torch.as_tensor(getattr(uncertainty, name)).detach().cpu().numpy()
        if value.shape != (frames,) or not np.isfinite(value).all():
            raise DataError(f"{where} has {name} uncertainty of shape {value.shape}; expected {frames} finite numbers")
        found[name] = value.astype(np.float16)
    return found
