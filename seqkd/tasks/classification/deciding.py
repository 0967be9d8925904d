"""Decoding of runs: which model classifies which clips."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from torch import nn

from seqkd.classification.batches import Clips
from seqkd.classification.decoding import FILE, STAMP, Decoded, decode_clips, write_decoded
from seqkd.classification.model import load_classifier
from seqkd.errors import ConfigError
from seqkd.stages import again
from seqkd.tasks.classification.work import ClipData, labels_hash, run_hash
from seqkd.uptodate import is_current

log = logging.getLogger("seqkd")


def decode_run(cfg: DictConfig, run: Path, name: str) -> None:
    """Classify set ``name``; do nothing if that was done with the same model, clips and classes.

    Raises:
        ConfigError: the run is not finished.
    """
    if not (run / "summary.json").is_file():
        raise ConfigError(f"{run} has no finished model; {again('students')}")
    data, output = ClipData(cfg), run / f"decode_{name}"
    made_by: dict[str, Any] = {
        "model": run_hash(run, name),
        "features": data.features(name).fingerprint,
        "labels": labels_hash(Path(cfg.data) / name),
        "subset": list(data.subset),
    }
    if is_current(output / STAMP, made_by, output / FILE):
        return
    clips = data.tested(name)
    subset = None if data.settings.subset is None else data.subset
    by_fold = lambda: _by_fold(cfg, run, data, clips, name, subset)  # noqa: E731
    decoded = by_fold() if cfg.folds else decode_clips(_model(run / "model"), clips, subset)
    write_decoded(output, decoded, made_by)
    log.info("%s: %d clips", output, len(clips))


def _model(directory: Path) -> nn.Module:
    return load_classifier(directory, own=True)[0]


def _by_fold(
    cfg: DictConfig, run: Path, data: ClipData, clips: Clips, name: str, subset: Sequence[int] | None
) -> Decoded:
    """Each clip by the model that was trained without its fold."""
    folds = data.set(name).folds
    if folds is None:
        raise ConfigError(f"setting folds is {cfg.folds}, but {Path(cfg.data) / name} has no file 'fold'")
    folds = np.array(folds)[clips.rows.numpy()]
    parts = [
        decode_clips(_model(run / "model" / f"fold{fold}"), clips.take(np.flatnonzero(folds == fold)), subset)
        for fold in np.unique(folds)
    ]
    order = np.argsort(np.concatenate([part.rows for part in parts]), kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.concatenate([part.lengths for part in parts]))])
    lengths = np.concatenate([part.lengths for part in parts])[order]
    places = np.concatenate([np.arange(starts[k], starts[k] + n) for k, n in zip(order, lengths, strict=True)])
    joined = {
        key: np.concatenate([getattr(part, key) for part in parts])[places]
        for key in ("predicted", "confidence", "nll", "brier")
    }
    return Decoded(**joined, lengths=lengths, rows=np.concatenate([part.rows for part in parts])[order])
