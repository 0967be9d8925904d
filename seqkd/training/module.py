"""The training step of every CTC system: student, KD, Cons-KD and their controls.

Letters: P passes, V views (P if each pass hears its own, else 1), B utterances, T feature frames, T' encoder frames,
F feature bins, C classes.
"""

from __future__ import annotations

from typing import Any

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from seqkd.ctc.alignment import forced_alignment
from seqkd.data.batches import Batch, Corpus
from seqkd.data.specaugment import SpecAugment
from seqkd.data.tokens import Tokenizer
from seqkd.decoding.greedy import greedy_decode
from seqkd.losses import (
    DistillationLoss,
    adaptive_label_smoothing_loss,
    best_path_ctc_loss,
    cons_kd_loss,
    delayed_kd_loss,
    guided_ctc_loss,
    inter_ctc_kd_loss,
    nbest_ctc_loss,
)
from seqkd.models.ctc import CtcModel, CtcOutput
from seqkd.teachers import Teacher, align_frames
from seqkd.training.base import Distillation
from seqkd.training.objective import Objective
from seqkd.training.self_knowledge import SelfKnowledge
from seqkd.translation.batches import IGNORE, bounded


class CtcDistillation(Distillation):
    """Trains ``model`` on ``objective``."""

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
        knowledge: SelfKnowledge | None = None,
        dev: Corpus | None = None,
    ) -> None:
        super().__init__(model, training, seed=seed)
        self.objective, self.tokenizer, self.knowledge, self.dev = objective, tokenizer, knowledge, dev
        self.augment = augment.stronger_time_masks(objective.time_mask_factor)
        self._teacher = [teacher]  # in a list, so that its weights are neither trained nor saved with the student's
        self.off_by_one = 0  # utterances whose teacher had one frame more or less

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """One update: P views of a batch, one pass each, the objective, normalised over all processes."""
        self.seed_update()
        features, hidden = self.augmented(batch)  # (B, T, F), (V, B, T, F)
        passes = self.objective.passes
        views = torch.where(hidden, self.model.feature_mean, features).expand(passes, -1, -1, -1)
        output = self.model(views.flatten(0, 1), batch.feature_lengths.repeat(passes), self.objective.tap)
        logits = output.logits.unflatten(0, (passes, -1))  # (P, B, T', C)
        lengths = output.lengths[: len(batch.ids)]
        teacher_logits = self.teacher_logits(features, hidden, batch, logits.shape[2], lengths)
        loss = self.loss(logits, lengths, batch, teacher_logits, output.intermediate)
        loss = self.with_tokens(loss, output, views[0], batch)
        self.remember(loss, len(batch.ids))
        return self.share(loss.total, len(batch.ids))

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
        if batch.hypotheses is not None:
            return self.sequence_loss(logits, lengths, batch)
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

    def sequence_loss(self, logits: Tensor, lengths: Tensor, batch: Batch) -> DistillationLoss:
        """CTC on the teacher's transcripts, in place of its frames, for each pass (P, B, T', C); and consistency."""
        known, o = batch.hypotheses, self.objective
        labels = (batch.targets, lengths, batch.target_lengths)
        shared = {"labelled": batch.labelled, "reduction": "sum"}
        parts = [
            nbest_ctc_loss(one, known.targets, known.lengths, known.scores, *labels, kd_weight=o.kd_weight, **shared)
            for one in logits
        ]
        terms = {name: sum(part.terms[name] for part in parts) / len(parts) for name in parts[0].terms}
        total = sum(part.total for part in parts) / len(parts)
        if o.consistency_weight:
            weight = o.consistency_weight_at(self.global_step, self.settings["updates"])
            options = {"consistency_weight": weight, "detach_consistency": o.detach_consistency}
            agree = cons_kd_loss(logits, None, *labels, ctc_weight=0.0, kd_weight=0.0, **options, **shared)
            total, terms["consistency"] = total + agree.total, agree.terms["consistency"]
        return DistillationLoss(total, terms)

    def with_tokens(self, loss: DistillationLoss, output: CtcOutput, view: Tensor, batch: Batch) -> DistillationLoss:
        """Add what is learned token by token: smoothing where the first pass spikes, and the attention decoder.

        ``output`` is of P × B utterances, ``view`` (B, T, F) what the first pass heard.
        """
        o, utterances = self.objective, len(batch.ids)
        if not (o.aligned_smoothing_weight or o.attention_weight):
            return loss
        past = self.knowledge.answer(view, batch.feature_lengths) if self.knowledge else None
        total, terms = loss.total, dict(loss.terms)
        if o.aligned_smoothing_weight:
            logits, lengths = output.logits[:utterances], output.lengths[:utterances]
            path = forced_alignment(logits, batch.targets, lengths, batch.target_lengths)
            spoken = path.masked_fill(path == self.tokenizer.blank, IGNORE)  # blanks would drive the amount to 1
            smoothed = adaptive_label_smoothing_loss(logits, spoken, past and past.logits, reduction="sum")
            total = total + o.aligned_smoothing_weight * smoothed.total
            terms |= {"aligned": smoothed.total, "aligned_alpha": smoothed.terms["alpha"] * utterances}
        if o.attention_weight:
            inputs, targets = bounded(batch.targets, batch.target_lengths, batch.labelled)
            logits = self.model.attend(output, inputs.repeat(o.passes, 1)).unflatten(0, (o.passes, -1))
            prior = self.knowledge.past_attends(past, inputs) if past else None
            attended = o.of_attention().loss(logits, targets, prior)
            total = total + o.attention_weight * attended.total
            positions = (targets != IGNORE).sum().clamp(min=1)
            means = {name: v if name in ("alpha", "weight") else v / positions for name, v in attended.terms.items()}
            terms |= {"attention": attended.total}
            terms |= {f"attention_{name}": mean * utterances for name, mean in means.items()}
        return DistillationLoss(total, terms)

    def augmented(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Features (B, T, F), warped, and what each view of them hides, (V, B, T, F): as a book replays it, or new."""
        features, lengths = batch.features, batch.feature_lengths
        if batch.pages is not None and batch.pages.seeds is not None:
            draws = [self.augment.replay(batch.ids, seeds, features.device) for seeds in batch.pages.seeds]
        else:
            views = self.objective.passes if self.objective.views == "independent" else 1
            draws = [self.augment.draw(len(batch.ids), features.device) for _ in range(views)]
        features = self.augment.warp_time(features, lengths, draws[0])
        return features, torch.stack([self.augment.hidden(features, lengths, drawn) for drawn in draws])

    def teacher_logits(
        self, features: Tensor, hidden: Tensor, batch: Batch, frames: int, lengths: Tensor
    ) -> Tensor | None:
        """The teacher's logits on the student's frames: (B, T', C), or (V, B, T', C) if each pass heard its own."""
        if not self.objective.needs_teacher or batch.hypotheses is not None:
            return None
        if batch.pages is not None:
            logits, teacher_lengths = batch.pages.logits, batch.pages.lengths  # (V, B, T', C), (B,)
        else:
            heard = features[None]  # (V, B, T, F)
            if self.objective.teacher_view == "student":
                heard = torch.where(hidden, self.teacher.fill, features)
            logits, teacher_lengths = self.teacher.logits(heard.flatten(0, 1), batch.feature_lengths.repeat(len(heard)))
            logits, teacher_lengths = logits.unflatten(0, (len(heard), -1)), teacher_lengths[: len(batch.ids)]
        views = len(logits)
        logits, off = align_frames(logits.flatten(0, 1), teacher_lengths.repeat(views), frames, lengths.repeat(views))
        self.off_by_one += off
        return logits if views == 1 else logits.unflatten(0, (views, -1))

    @property
    def teacher(self) -> Teacher:
        """The frozen teacher."""
        return self._teacher[0]

    def on_fit_start(self) -> None:
        """Bring the teacher to the student's device."""
        super().on_fit_start()
        if isinstance(self.teacher, torch.nn.Module):
            self.teacher.to(self.device)

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

    def tally(self) -> tuple[float, float]:
        """Word errors, and words."""
        return self.errors, self.words

    def on_validation_epoch_end(self) -> None:
        """Log dev WER over all processes and add a row to the history."""
        wer = self.measured()
        self.log("dev_wer", wer, prog_bar=True)
        self.add_row(dev_wer=wer)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the count of frames that did not fit, too."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["seqkd"]["off_by_one"] = self.off_by_one

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up where the checkpoint was written."""
        super().on_load_checkpoint(checkpoint)
        self.off_by_one = checkpoint["seqkd"]["off_by_one"]
