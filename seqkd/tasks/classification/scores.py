"""Scores of classes: what is counted, by which evidence, and what only their report shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqkd.classification.decoding import FILE, STAMP, read_decoded
from seqkd.classification.measures import FURTHER, MEASURES
from seqkd.errors import DataError
from seqkd.experiment.scores import Scores, Undecoded, hash_of
from seqkd.stages import again
from seqkd.statistics.calibration import bins_by_item
from seqkd.statistics.table import Table
from seqkd.tasks.classification.settings import MONITOR

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from seqkd.experiment.read import Experiment

BINS = 15


class ClassificationScores(Scores):
    """Accuracy, calibration and counts by class of ``decode_<set>/decoded.safetensors``, clip by clip."""

    name = "classification"
    measures = MEASURES
    further = FURTHER
    monitor = MONITOR
    items = "clips"
    units = (("positions", "labels"),)

    def evidence(self, cfg: DictConfig, run: Path, name: str) -> dict[str, Any]:
        """Hashes of the decoding, of the labels and of the classes."""
        decoded, data = run / f"decode_{name}", Path(cfg.data)
        if not (decoded / STAMP).is_file():
            raise Undecoded(f"{decoded} has nothing decoded; {again('decode')}")
        files = [data / "classes.txt", data / name / "label", data / name / "phones.ctm"]
        return {
            "decoding": hash_of(decoded / FILE),
            "references": {path.name: hash_of(path) for path in files},
            "settings": {"bins": BINS},
        }

    def count(self, cfg: DictConfig, run: Path, name: str) -> Table:
        """Sums of each clip; see `seqkd.classification.measures`."""
        from seqkd.tasks.classification.work import ClipData

        data, decoded = ClipData(cfg), read_decoded(run / f"decode_{name}")
        ids = data.set(name).ids
        if len(decoded.rows) and decoded.rows.max() >= len(ids):
            raise DataError(f"{run}/decode_{name} has clips that {name} lacks; {again('decode')}")
        targets = data.targets(name)[decoded.rows]
        targets = targets[targets >= 0]
        if len(targets) != len(decoded.predicted):
            raise DataError(f"{run}/decode_{name} has other lengths than {name}; {again('decode')}")
        owner = np.repeat(np.arange(len(decoded.lengths)), decoded.lengths)
        clips, classes = len(decoded.lengths), len(data.names)

        def by_class(numbers: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
            counted = np.bincount(owner * classes + numbers, weights, minlength=clips * classes)
            return counted.reshape(clips, classes).astype(float)

        def by_clip(values: np.ndarray) -> np.ndarray:
            return np.bincount(owner, values, minlength=clips).astype(float)

        right = decoded.predicted == targets
        return Table(
            tuple(ids[row] for row in decoded.rows),
            {
                "positions": decoded.lengths.astype(float),
                "right": by_clip(right),
                "nll": by_clip(decoded.nll),
                "brier": by_clip(decoded.brier),
                "true": by_class(targets),
                "found": by_class(decoded.predicted),
                "hit": by_class(targets, right),
                "bins": bins_by_item(decoded.confidence, right, decoded.lengths, BINS),
            },
        )

    def legend(self, cfg: DictConfig, experiment: Experiment) -> list[str]:
        """How classes count, and for which."""
        sentences = ["Macro-F1 and balanced accuracy: means over the classes that the test sets have."]
        if cfg.classes.subset is not None:
            from seqkd.tasks.classification.work import ClipData

            data = ClipData(cfg)
            sentences.append(
                f"Tested on the clips of {len(data.subset)} of {len(data.names)} classes; a model of all classes is "
                f"restricted to them: {', '.join(data.names[number] for number in data.subset)}."
            )
        return sentences

    def sections(self, cfg: DictConfig, experiment: Experiment) -> list[str]:
        """Classes that are taken for each other, sizes and speed, where the teacher is wrong."""
        from seqkd.tasks.classification import sections

        return sections.sections(cfg, experiment)
