"""The training step of every CTC system: student, KD, Cons-KD and their controls.

Letters: P passes, B utterances, T feature frames, T' encoder frames, F feature bins, C classes.
"""

from __future__ import annotations

import math
import time
from typing import Any

import lightning
import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from seqkd.data.batches import Batch, Corpus
from seqkd.data.specaugment import SpecAugment
from seqkd.data.tokens import Tokenizer
from seqkd.decoding.greedy import greedy_decode
from seqkd.errors import SeqkdError
from seqkd.losses import (
    DistillationLoss,
    best_path_ctc_loss,
    cons_kd_loss,
    delayed_kd_loss,
    guided_ctc_loss,
    inter_ctc_kd_loss,
)
from seqkd.models.ctc import CtcModel
from seqkd.teachers import Teacher, align_frames
from seqkd.training.objective import Objective


class CtcDistillation(lightning.LightningModule):
    """Trains ``model`` on ``objective``. Everything random at update k depends on the seed and k alone."""

    def __init__(
        self,
        model: CtcModel,
        objective: Objective,
        tokenizer: Tokenizer,
        augment: SpecAugment,
        training: dict[str, Any],
        *,
        seed: int,
        teacher: Teacher | None = None,
        dev: Corpus | None = None,
    ) -> None:
        super().__init__()
        self.model, self.objective, self.tokenizer, self.dev = model, objective, tokenizer, dev
        self.augment = augment.stronger_time_masks(objective.time_mask_factor)
        self.settings, self.seed = training, seed
        self._teacher = [teacher]  # in a list, so that its weights are neither trained nor saved with the student's
        self.history: list[dict[str, Any]] = []  # a row a validation
        self.seconds = 0.0  # spent training, over resumed runs too
        self.off_by_one = 0  # utterances whose teacher had one frame more or less
        self._sums: dict[str, Tensor] = {}
        self._updates_summed = 0
        self._clock = time.monotonic()

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """One update: P views of a batch, one pass each, the objective, normalised over all processes."""
        torch.manual_seed(hash((self.seed, self.global_step, self.global_rank)) % 2**63)
        views = self.views(batch)  # (P, B, T, F)
        passes = len(views)
        output = self.model(views.flatten(0, 1), batch.feature_lengths.repeat(passes), self.objective.tap)
        logits = output.logits.unflatten(0, (passes, -1))  # (P, B, T', C)
        lengths = output.lengths[: len(batch.ids)]
        teacher_logits = self.teacher_logits(views, batch, logits.shape[2], lengths)
        loss = self.loss(logits, lengths, batch, teacher_logits, output.intermediate)
        self.remember(loss, len(batch.ids))
        # DDP averages gradients over processes; this makes that the gradient of the mean over all utterances.
        return loss.total * self.trainer.world_size / self.over_processes(len(batch.ids))

    def loss(
        self,
        logits: Tensor,
        lengths: Tensor,
        batch: Batch,
        teacher_logits: Tensor | None,
        intermediate: Tensor | None = None,
    ) -> DistillationLoss:
        """The objective summed over utterances.

        ``logits`` (P, B, T', C); ``teacher_logits`` (B, T', C), (P, B, T', C) or None; ``intermediate`` (B, T', C)
        of the tapped layer.
        """
        o = self.objective
        one_pass = (logits[0], teacher_logits, batch.targets, lengths, batch.target_lengths)
        shared = {"kd_weight": o.kd_weight, "labelled": batch.labelled, "reduction": "sum"}
        distances = {"distance": o.distance, "temperature": o.temperature}
        if o.form == "guided":
            return guided_ctc_loss(*one_pass, **shared)
        if o.form == "best_path":
            return best_path_ctc_loss(*one_pass, **shared)
        if o.form == "delayed":
            return delayed_kd_loss(*one_pass, max_delay=o.max_delay, **distances, **shared)
        if o.form == "intermediate":
            weights = {"inter_kd_weight": o.inter_kd_weight, "inter_ctc_weight": o.inter_ctc_weight}
            return inter_ctc_kd_loss(logits[0], [intermediate], *one_pass[1:], **weights, **distances, **shared)
        return cons_kd_loss(
            logits,
            teacher_logits,
            batch.targets,
            lengths,
            batch.target_lengths,
            consistency_weight=o.consistency_weight_at(self.global_step, self.settings["updates"]),
            detach_consistency=o.detach_consistency,
            select=o.select,
            **distances,
            **shared,
        )

    def views(self, batch: Batch) -> Tensor:
        """(P, B, T, F): warped once, then masked alike or independently."""
        features = self.augment.warp_time(batch.features, batch.feature_lengths)
        batch.features = features  # what a teacher with a clean view hears: warped, not masked
        mask = lambda: self.augment.mask(features, batch.feature_lengths, self.model.feature_mean)  # noqa: E731
        if self.objective.views == "same":
            return mask().expand(self.objective.passes, -1, -1, -1)
        return torch.stack([mask() for _ in range(self.objective.passes)])

    def teacher_logits(self, views: Tensor, batch: Batch, frames: int, lengths: Tensor) -> Tensor | None:
        """The teacher's logits on the student's frames: (B, T', C), or (P, B, T', C) if each pass heard its own."""
        if not self.objective.needs_teacher:
            return None
        if self.objective.teacher_view == "clean":
            heard = [batch.features]
        else:
            heard = views if self.objective.views == "independent" else views[:1]
        logits, teacher_lengths = self.teacher.logits(torch.cat(list(heard)), batch.feature_lengths.repeat(len(heard)))
        logits, off = align_frames(logits, teacher_lengths, frames, lengths.repeat(len(heard)))
        self.off_by_one += off
        return logits if len(heard) == 1 else logits.unflatten(0, (len(heard), -1))

    @property
    def teacher(self) -> Teacher:
        """The frozen teacher."""
        return self._teacher[0]

    def over_processes(self, count: float) -> Tensor:
        """Sum of a number over all processes."""
        total = torch.tensor(float(count), device=self.device)
        return self.trainer.strategy.reduce(total, reduce_op="sum") if self.trainer.world_size > 1 else total

    def remember(self, loss: DistillationLoss, utterances: int) -> None:
        """Collect the terms for the next row of the history without waiting for the device."""
        for name, value in {"total": loss.total, **loss.terms}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach() / utterances
        self._updates_summed += 1

    def on_fit_start(self) -> None:
        """Bring the teacher to the student's device; start the clock."""
        if isinstance(self.teacher, torch.nn.Module):
            self.teacher.to(self.device)
        self._clock = time.monotonic()

    def on_validation_epoch_start(self) -> None:
        """Start counting errors."""
        self.errors = self.words = 0

    def validation_step(self, batch: Batch, _: int) -> None:
        """Greedy decoding of one batch of dev."""
        output = self.model(batch.features, batch.feature_lengths)
        for name, ids in zip(batch.ids, greedy_decode(output.logits, output.lengths), strict=True):
            reference = self.dev.transcripts[name].split()
            self.errors += Levenshtein.distance(reference, self.tokenizer.decode(ids).split())
            self.words += len(reference)

    def on_validation_epoch_end(self) -> None:
        """Log dev WER over all processes and add a row to the history."""
        wer = float(self.over_processes(self.errors) / self.over_processes(self.words))
        self.log("dev_wer", wer, prog_bar=True)
        now = time.monotonic()
        self.seconds, self._clock = self.seconds + now - self._clock, now
        train = {name: float(value) / max(1, self._updates_summed) for name, value in self._sums.items()}
        if not all(map(math.isfinite, train.values())):
            raise SeqkdError(
                f"the training loss is not finite by update {self.global_step} ({train}); lower training.lr or "
                "training.gradient_clip, and run it again"
            )
        self.log_dict({f"train/{name}": value for name, value in train.items()})
        row = {
            "step": self.global_step,
            "seconds": self.seconds,
            "dev_wer": wer,
            "lr": self.learning_rate(),
            "train": train,
        }
        self.history.append(row)
        self._sums, self._updates_summed = {}, 0

    def learning_rate(self) -> float:
        """The optimiser's rate now."""
        return self.optimizers().param_groups[0]["lr"]

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW; linear warm-up, then cosine decay. Vectors (norms, biases) are not decayed."""
        s = self.settings
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": s["weight_decay"]}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=s["lr"], betas=(0.9, 0.98), fused=self.device.type == "cuda")

        def scale(step: int) -> float:
            if step < s["warmup"]:
                return (step + 1) / s["warmup"]
            progress = min(1.0, (step - s["warmup"]) / max(1, s["updates"] - s["warmup"]))
            return s["final_lr"] + (1 - s["final_lr"]) * 0.5 * (1 + math.cos(math.pi * progress))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, scale)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the report needs beside the weights; plain values only."""
        checkpoint["seqkd"] = {
            "history": self.history,
            "seconds": self.seconds + time.monotonic() - self._clock,
            "sums": {k: torch.as_tensor(v).cpu() for k, v in self._sums.items()},
            "updates_summed": self._updates_summed,
            "off_by_one": self.off_by_one,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up where the checkpoint was written."""
        kept = checkpoint["seqkd"]
        self.history, self.seconds = kept["history"], kept["seconds"]
        self._sums = {k: v.to(self.device) for k, v in kept["sums"].items()}
        self._updates_summed, self.off_by_one = kept["updates_summed"], kept["off_by_one"]
