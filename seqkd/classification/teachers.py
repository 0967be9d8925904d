"""What teachers give for clips: live, or for the clips as they are from a table that is computed once.

The table of a run is ``<run>/book/<key>.safetensors``: ``logits`` (Q, N, T, C) of all training clips, and the
aleatoric, epistemic and total uncertainty of each label where there are several draws; under cross-validation, of those
labels that are neither for dev nor for tests. It is the same as what the teacher gives live.

Letters: Q teachers, draws or passes, N clips of a set, B of a batch, T positions, C classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from seqkd.classification.batches import ClipBatch, Clips, evaluation_clips
from seqkd.errors import DataError
from seqkd.files import atomic_path
from seqkd.losses.outputs import IGNORE, Features, Outputs
from seqkd.losses.uncertainty import uncertainties
from seqkd.models.classifier import ClassifierOutput

MODES = ("eval", "train")


def as_outputs(found: Sequence[ClassifierOutput]) -> Outputs:
    """Outputs of P passes or Q teachers over the same clips."""
    layers = {
        name: Features.of(torch.stack([one.layers[name][0] for one in found]), found[0].layers[name][1])
        for name in found[0].layers
    }
    return Outputs(torch.stack([one.logits for one in found]), found[0].lengths, layers)


def randomly_dropping(model: nn.Module) -> nn.Module:
    """Let dropout draw, and leave all else, batch normalisation above all, as in eval mode (Monte Carlo dropout)."""
    model.eval()
    for layer in dropouts(model):
        layer.train()
    return model


def normalising_by_the_batch(model: nn.Module) -> nn.Module:
    """Let batch normalisation, and all else but dropout, be as in training."""
    model.train()
    for layer in dropouts(model):
        layer.eval()
    return model


def dropouts(model: nn.Module) -> list[nn.Module]:
    """The layers that drop at random."""
    return [layer for layer in model.modules() if isinstance(layer, nn.Dropout)]


class ClipTeacher:
    """Teachers beside their student.

    Args:
        models: whose outputs stand on the first axis, one after the other.
        layers: of theirs that terms look at.
        draws: passes of each under different dropout masks; 0 is one pass without dropout.
        clean: whether they are given the clips as they are where the student's are augmented.
        mode: "eval", or "train": batch normalisation by the batch, whose running means then drift, as in CCSKD's
            release. Dropout stays off.
        table: (Q, N, T, C) of the training clips as they are, and ``facts`` of it; it is used where no clip is changed
            and no layer asked for.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        *,
        layers: Collection[str] = (),
        draws: int = 0,
        clean: bool = False,
        mode: str = "eval",
        table: Tensor | None = None,
        facts: dict[str, float] | None = None,
    ) -> None:
        self.models, self.layers, self.draws, self.clean, self.mode = list(models), layers, draws, clean, mode
        self.table, self.facts = table, facts or {}

    def to(self, device: torch.device) -> None:
        """Move the teachers to a device."""
        for model in self.models:
            model.to(device)

    @torch.no_grad()
    def __call__(self, seen: ClipBatch, student: Outputs) -> Outputs:
        """(Q, B, T, C): of each teacher and draw; or of each pass where passes are given different clips."""
        changed = seen.views is not None and not self.clean
        if self.table is not None and seen.mixed is None:
            known = self.table[:, seen.rows.to(self.table.device), : student.logits.shape[2]].to(student.logits.device)
            if not changed:
                return Outputs(known, student.lengths, facts=self.facts, teachers=len(known))
            # One teacher need not look at these again; unless it draws, for then its other passes have dropout, too.
            if len(known) == 1 and not self.draws and any(seen.unchanged):
                passes = zip(seen.views, seen.unchanged, strict=True)
                model = self.models[0].eval()
                logits = [known[0] if as_is else model(given, seen.lengths).logits for given, as_is in passes]
                return Outputs(torch.stack(logits), student.lengths, facts=self.facts)
        given = seen.views if changed else [seen.features if seen.views is None else seen.clean]
        found = [
            model(features, seen.lengths, self.layers)
            for model in self.models
            for features in given
            for _ in self.passes(model)
        ]
        outputs = as_outputs(found)
        outputs.facts, outputs.teachers = self.facts, len(self.models) * max(1, self.draws)
        return outputs

    def passes(self, model: nn.Module) -> range:
        """One, or the draws, with the model in the mode for them."""
        if self.draws:
            randomly_dropping(model)
        elif self.mode == "train":
            normalising_by_the_batch(model)
        else:
            model.eval()
        return range(max(1, self.draws))


def table_of(
    place: Path,
    models: Sequence[nn.Module],
    hashes: Sequence[str],
    clips: Clips,
    draws: int,
    data: str,
    rows: Sequence[int] | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """(Q, N, T, C) of all clips, and facts about those learned from; computed once and kept in ``place``.

    Args:
        place: of the tables of these teachers.
        models: the teachers.
        hashes: of their content.
        clips: N clips, in the order of their set.
        draws: as of `ClipTeacher`; seeded, so that the table is always the same.
        data: a fingerprint of the clips.
        rows: the clips that facts are about, where they are not all, as those outside a fold.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    of = (list(hashes), draws, data, len(clips)) if rows is None else (list(hashes), draws, data, list(map(int, rows)))
    key = hashlib.sha256(repr(of).encode()).hexdigest()[:16]
    path = place / f"{key}.safetensors"
    if path.is_file():
        try:
            found = load_file(path)
        except (OSError, SafetensorError) as error:
            raise DataError(f"{path} is damaged ({error}); delete it and run it again") from error
        if found.get("logits") is None:
            raise DataError(f"{path} is damaged (it has no logits); delete it and run it again")
    else:
        found = {"logits": _computed(models, clips, draws)}
        if draws or len(models) > 1:
            _, total, aleatoric, epistemic = uncertainties(found["logits"])  # (N, T)
            valid = (
                (clips.targets != IGNORE) if clips.targets.shape[1] > 1 else torch.ones_like(total, dtype=torch.bool)
            )
            if rows is not None:
                valid = valid & torch.isin(torch.arange(len(clips)), torch.as_tensor(rows))[:, None]
            for name, one in (("aleatoric", aleatoric), ("epistemic", epistemic), ("total", total)):
                found[name] = one[valid]
        place.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            save_file(found, temporary)
    logits = found.pop("logits")
    scale = torch.tensor(float(logits.shape[-1])).log()
    return logits, {name: float(value.double().mean() / scale) for name, value in found.items()}


@torch.no_grad()
def _computed(models: Sequence[nn.Module], clips: Clips, draws: int) -> Tensor:
    rows = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for model in models:
            randomly_dropping(model) if draws else model.eval()
            for _ in range(max(1, draws)):
                batches = evaluation_clips(clips)
                found = [model(batch.features, batch.lengths).logits for batch in batches]  # (B, T, C), T of the batch
                longest = max(logits.shape[1] for logits in found)
                rows.append(torch.cat([pad(logits, (0, 0, 0, longest - logits.shape[1])) for logits in found]))
            model.eval()
    return torch.stack(rows)
