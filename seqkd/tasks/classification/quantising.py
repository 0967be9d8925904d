"""Students of few values a weight: a trained float student is quantised, and trained on."""

from __future__ import annotations

from pathlib import Path

from seqkd.classification.model import load_classifier
from seqkd.layout import plain
from seqkd.models.packing import save_packed
from seqkd.models.quantised import quantised
from seqkd.models.reparametrised import plain as as_ordinary
from seqkd.settings import build
from seqkd.tasks.classification.work import ClipWork, start_of
from seqkd.training.study import Study


class QuantisedWork(ClipWork):
    """Saves the network with its few values as an ordinary one, and packed beside it."""

    def save(self, directory: Path) -> None:
        """``model/`` with weights Δ·n in float32, for whoever goes on with it, and ``packed.safetensors``."""
        quantised_model = self.model.eval()
        self.model = as_ordinary(quantised_model)
        super().save(directory)
        save_packed(directory / "packed.safetensors", quantised_model)
        self.model = quantised_model


def retrain(study: Study) -> None:
    """Quantise the weights of ``system.start_from`` and train on, with float weights behind (straight-through).

    ``system.options`` are those of `seqkd.models.quantised.quantised`.
    """
    if study.done:
        return
    float_model, _ = load_classifier(start_of(study.cfg), own=True)
    work = QuantisedWork(study, build(quantised, plain(study.cfg.system.options), "system.options", float_model))
    with study.working():
        study.finish(study.fit(work), work)
