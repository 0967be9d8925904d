from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from seqkd.training.objective import Objective
from torch.nn import functional
from torchaudio.functional import forced_align

from seqkd.data.batches import Batch, Corpus, load_corpus, training_batches
from seqkd.data.specaugment import SpecAugment
from seqkd.data.tokens import Tokenizer
from seqkd.losses import (
    adaptive_label_smoothing_loss,
    best_path_ctc_loss,
    delayed_kd_loss,
    guided_ctc_loss,
    inter_ctc_kd_loss,
)
from seqkd.models.ctc import CtcModel
from seqkd.teachers import CheckpointTeacher
from seqkd.training.checkpoints import average_weights, newest_resume_point, resume_points
from seqkd.training.module import CtcDistillation
from seqkd.training.self_knowledge import SelfKnowledge

SETTINGS = {"updates": 100, "warmup": 10, "lr": 1e-2, "final_lr": 0.1, "weight_decay": 0.05}
NO_MASKS = SpecAugment(freq_masks=0, time_masks=0)


@pytest.fixture(scope="module")
def tokenizer(tone_exp: Path) -> Tokenizer:
    return Tokenizer.load(tone_exp / "tokens")


@pytest.fixture
def teacher(tone_exp: Path) -> CheckpointTeacher:
    return CheckpointTeacher.from_directory(tone_exp / "teacher" / "seed0" / "model")


@pytest.fixture(scope="module")
def corpus(tones: Path, tokenizer: Tokenizer) -> Corpus:
    return load_corpus(tones, ["train"], tokenizer, ["extra"])


@pytest.fixture
def batch(corpus: Corpus) -> Batch:
    """Three with a transcript and two without, of different lengths."""
    ids = [*[u for u in corpus.transcripts if "train" in u][:3], *[u for u in corpus.transcripts if "extra" in u][:2]]
    assert len({corpus.store.frames[u] for u in ids}) > 1
    return next(iter(training_batches(corpus, [ids], workers=0)))


def made(
    teacher: CheckpointTeacher,
    tokenizer: Tokenizer,
    objective: Objective,
    augment: SpecAugment = NO_MASKS,
    **options: Any,
) -> CtcDistillation:
    """A module at update 0, as a Trainer of one process would hold it."""
    torch.manual_seed(1)
    architecture = teacher.model.architecture | {"dropout": options.pop("dropout", 0.0)}
    model = CtcModel(architecture, teacher.features, teacher.classes)
    model.feature_mean.copy_(teacher.model.feature_mean)
    model.feature_scale.copy_(teacher.model.feature_scale)
    module = CtcDistillation(
        model,
        objective,
        tokenizer,
        augment,
        SETTINGS | options,
        seed=3,
        teacher=teacher if objective.kd_weight else None,
    )
    module._trainer = SimpleNamespace(world_size=1, global_step=0, global_rank=0)
    module._fabric = None
    return module


@pytest.fixture(autouse=True)
def without_a_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning looks update and rank up in the Trainer, and insists on a real one."""
    monkeypatch.setattr(CtcDistillation, "trainer", property(lambda self: self._trainer))
    monkeypatch.setattr(CtcDistillation, "global_step", property(lambda self: self._trainer.global_step))
    monkeypatch.setattr(CtcDistillation, "global_rank", property(lambda self: self._trainer.global_rank))


def by_hand(module: CtcDistillation, batch: Batch, teacher: CheckpointTeacher, weight: float) -> dict[str, float]:
    """The terms summed over utterances, one utterance and one pass at a time."""
    torch.manual_seed(hash((3, 0, 0)) % 2**63)
    output = module.model(batch.features.repeat(2, 1, 1), batch.feature_lengths.repeat(2))
    theirs, _ = teacher.logits(batch.features, batch.feature_lengths)
    terms = dict.fromkeys(("ctc", "kd", "consistency"), 0.0)
    size = len(batch.ids)
    for row, length in enumerate(output.lengths[:size].tolist()):
        q = theirs[row, :length].softmax(-1)
        first, second = (output.logits[row + size * i, :length].log_softmax(-1) for i in range(2))
        for log_p in (first, second):
            if batch.labelled[row]:
                targets = batch.targets[row, : batch.target_lengths[row]]
                terms["ctc"] += (
                    functional.ctc_loss(log_p, targets, [length], [len(targets)], reduction="sum").item() / 2
                )
            terms["kd"] += (q - log_p.exp()).square().sum().item() / 2
        terms["consistency"] += 0.5 * ((first.exp() - second.exp()) * (first - second)).sum().item()
    return terms


def test_the_loss_is_the_sum_of_its_weighted_terms(
    teacher: CheckpointTeacher, tokenizer: Tokenizer, batch: Batch
) -> None:
    objective = Objective(passes=2, kd_weight=0.7, consistency_weight=0.4, consistency_warmup=0.2)
    module = made(teacher, tokenizer, objective, dropout=0.3)
    loss = module.training_step(batch, 0)
    terms = by_hand(module, batch, teacher, 0.4 / 20)
    assert terms["consistency"] > 0.1
    expected = terms["ctc"] + 0.7 * terms["kd"] + 0.4 / 20 * terms["consistency"]
    assert loss.item() == pytest.approx(expected / len(batch.ids), rel=1e-4)
    kept = {name: float(value) for name, value in module._sums.items()}
    assert kept == pytest.approx({"total": expected / 5, **{k: v / 5 for k, v in terms.items()}}, rel=1e-4)
    loss.backward()
    assert all(p.grad is not None for p in module.model.parameters())


@pytest.mark.parametrize("past", [False, True])
def test_smoothing_at_spikes_and_the_attention_decoder(
    teacher: CheckpointTeacher, tokenizer: Tokenizer, batch: Batch, past: bool
) -> None:
    """Utterance by utterance, by hand: both terms, from a uniform prior and from a past self."""
    objective = Objective(aligned_smoothing_weight=0.3, attention_weight=0.6, attention_form="adaptive")
    module = made(teacher, tokenizer, objective)
    architecture = module.model.architecture | {"decoder_layers": 1}
    older = CtcModel(architecture, teacher.features, teacher.classes).eval()
    module.model = CtcModel(architecture, teacher.features, teacher.classes)
    module.knowledge = SelfKnowledge("best")
    module.knowledge.past, module.knowledge.refreshes = older, [1] * past
    loss = module.training_step(batch, 0)

    features = lambda row: batch.features[row : row + 1, : batch.feature_lengths[row]]  # noqa: E731
    total, aligned, attention = 0.0, 0.0, 0.0
    for row in [row for row in range(len(batch.ids)) if batch.labelled[row]]:
        length = batch.feature_lengths[row : row + 1]
        units = batch.targets[row, : batch.target_lengths[row]]
        now, before = module.model(features(row), length), older(features(row), length)
        log_probs = now.logits.log_softmax(-1)
        total += functional.ctc_loss(log_probs[0], units, [log_probs.shape[1]], [len(units)], reduction="sum").item()
        path = forced_align(log_probs.detach(), units[None], blank=0)[0][0]
        spikes = path != 0
        prior = before.logits[:, spikes] if past else None
        aligned += adaptive_label_smoothing_loss(
            now.logits[:, spikes], path[spikes][None], prior, reduction="sum"
        ).total.item()
        inputs, ended = torch.cat([units.new_zeros(1), units])[None], torch.cat([units, units.new_zeros(1)])[None]
        attention += adaptive_label_smoothing_loss(
            module.model.attend(now, inputs), ended, older.attend(before, inputs) if past else None, reduction="sum"
        ).total.item()
    assert loss.item() == pytest.approx((total + 0.3 * aligned + 0.6 * attention) / len(batch.ids), rel=1e-4)
    kept = {name: float(value) for name, value in module._sums.items()}
    assert kept["aligned"] == pytest.approx(aligned / len(batch.ids), rel=1e-4)
    assert kept["attention"] == pytest.approx(attention / len(batch.ids), rel=1e-4)
    assert 0 <= kept["aligned_alpha"] <= 1 and 0 <= kept["attention_alpha"] <= 1
    loss.backward()
    assert all(p.grad is not None for p in module.model.parameters())
    assert all(p.grad is None for p in older.parameters())


def test_processes_share_one_mean(teacher: CheckpointTeacher, tokenizer: Tokenizer, batch: Batch) -> None:
    module = made(teacher, tokenizer, Objective())
    alone = module.training_step(batch, 0)
    module._trainer.world_size = 2
    module._trainer.strategy = SimpleNamespace(reduce=lambda total, reduce_op: total + 3)  # the other process has 3
    assert module.training_step(batch, 0).item() == pytest.approx(alone.item() * 5 * 2 / 8)


@pytest.mark.parametrize(
    ("objective", "terms"),
    [
        (Objective(), {"ctc"}),
        (Objective(passes=2), {"ctc"}),
        (Objective(kd_weight=1.0), {"ctc", "kd"}),
        (Objective(passes=2, consistency_weight=0.2), {"ctc", "consistency"}),
        (Objective(passes=2, kd_weight=1.0, consistency_weight=0.2), {"ctc", "kd", "consistency"}),
    ],
)
def test_terms_without_weight_are_absent(
    teacher: CheckpointTeacher, tokenizer: Tokenizer, batch: Batch, objective: Objective, terms: set[str]
) -> None:
    module = made(teacher, tokenizer, objective)
    module.training_step(batch, 0)
    assert module._sums.keys() == {"total", *terms}


FORMS = {
    "guided": lambda *a, **o: guided_ctc_loss(*a, **o),
    "best_path": lambda *a, **o: best_path_ctc_loss(*a, **o),
    "delayed": lambda *a, **o: delayed_kd_loss(*a, max_delay=2, distance="squared", **o),
}


@pytest.mark.parametrize("form", [*FORMS, "intermediate"])
def test_other_forms_of_distillation(teacher: CheckpointTeacher, tokenizer: Tokenizer, batch: Batch, form: str) -> None:
    tap = 1 if form == "intermediate" else None
    module = made(teacher, tokenizer, Objective(form=form, kd_weight=0.7, max_delay=2, tap=tap))
    output = module.model(batch.features, batch.feature_lengths, tap)
    logits, _ = teacher.logits(batch.features, batch.feature_lengths)
    common = (logits, batch.targets, output.lengths, batch.target_lengths)
    weights = {"kd_weight": 0.7, "labelled": batch.labelled, "reduction": "sum"}
    if tap:
        assert not torch.equal(output.intermediate, output.logits)
        weights |= {"inter_kd_weight": 0.5, "inter_ctc_weight": 0.5}
        expected = inter_ctc_kd_loss(output.logits, [output.intermediate], *common, **weights)
    else:
        expected = FORMS[form](output.logits, *common, **weights)
    loss = module.training_step(batch, 0)
    assert loss.item() * len(batch.ids) == pytest.approx(expected.total.item(), rel=1e-5)
    assert module._sums.keys() == {"total", *expected.terms}


def test_unlabelled_utterances_learn_from_the_teacher_only(
    teacher: CheckpointTeacher, tokenizer: Tokenizer, corpus: Corpus
) -> None:
    ids = [u for u in corpus.transcripts if "extra" in u][:2]
    unlabelled = next(iter(training_batches(corpus, [ids], workers=0)))
    module = made(teacher, tokenizer, Objective(kd_weight=1.0))
    module.training_step(unlabelled, 0)
    assert float(module._sums["ctc"]) == 0.0
    assert float(module._sums["kd"]) > 0.0


def test_updates_depend_on_seed_and_number_alone(
    teacher: CheckpointTeacher, tokenizer: Tokenizer, corpus: Corpus, batch: Batch
) -> None:
    augment = SpecAugment(warp=5)

    def loss(step: int, rank: int = 0) -> float:
        module = made(teacher, tokenizer, Objective(), augment, dropout=0.3)
        module._trainer.global_step, module._trainer.global_rank = step, rank
        torch.manual_seed(step)  # whatever was drawn before
        fresh = next(iter(training_batches(corpus, [batch.ids], workers=0)))
        return module.training_step(fresh, 0).item()

    assert loss(4) == loss(4)
    assert len({loss(4), loss(5), loss(4, rank=1)}) == 3


@pytest.mark.parametrize("views", ["same", "independent"])
def test_views(teacher: CheckpointTeacher, tokenizer: Tokenizer, batch: Batch, views: str) -> None:
    module = made(teacher, tokenizer, Objective(passes=2, views=views), SpecAugment(warp=5))
    original = batch.features.clone()
    features, hidden = module.augmented(batch)
    assert hidden.shape == (1 if views == "same" else 2, *original.shape)
    assert hidden.any(dim=(1, 2, 3)).all()
    assert views == "same" or not hidden[0].equal(hidden[1])
    assert batch.features.equal(original)
    assert not features.equal(original)  # one warp that all views, and the teacher's, share


@pytest.mark.parametrize("view", ["clean", "student"])
def test_what_the_teacher_hears(
    teacher: CheckpointTeacher, tokenizer: Tokenizer, batch: Batch, view: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = []
    logits = teacher.logits
    monkeypatch.setattr(teacher, "logits", lambda x, lengths: (heard.append(x.clone()), logits(x, lengths))[1])
    module = made(teacher, tokenizer, Objective(kd_weight=1.0, teacher_view=view), SpecAugment())
    original = batch.features.clone()
    module.training_step(batch, 0)
    assert heard[0].equal(original) == (view == "clean")
    hidden = heard[0] != original
    assert (heard[0] == teacher.fill)[hidden].all()


def test_passes_that_hear_differently_have_a_teacher_each(
    teacher: CheckpointTeacher, tokenizer: Tokenizer, batch: Batch
) -> None:
    module = made(teacher, tokenizer, Objective(passes=2, kd_weight=1.0, views="independent"), SpecAugment())
    features, hidden = module.augmented(batch)
    output = module.model(batch.features, batch.feature_lengths)
    theirs = module.teacher_logits(features, hidden, batch, output.logits.shape[1], output.lengths)
    assert theirs.shape == (2, *output.logits.shape)
    for view, logits in zip(torch.where(hidden, teacher.fill, features), theirs, strict=True):
        torch.testing.assert_close(logits, teacher.logits(view, batch.feature_lengths)[0])
    assert not theirs[0].equal(theirs[1])


def test_frames_off_by_one_are_counted(
    teacher: CheckpointTeacher, tokenizer: Tokenizer, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, lengths = teacher.logits(batch.features, batch.feature_lengths)
    longest = int(lengths.max())
    monkeypatch.setattr(teacher, "logits", lambda *_: (full[:, :-1], lengths.clamp(max=longest - 1)))
    module = made(teacher, tokenizer, Objective(kd_weight=1.0))
    for update in (1, 2):
        module.training_step(batch, 0)
        assert module.off_by_one == update * int((lengths == longest).sum())


def test_the_teacher_is_neither_saved_nor_trained(
    teacher: CheckpointTeacher, tokenizer: Tokenizer, batch: Batch
) -> None:
    module = made(teacher, tokenizer, Objective(kd_weight=1.0))
    assert {name.split(".")[0] for name in module.state_dict()} == {"model"}
    frozen = {id(p) for p in teacher.parameters()}
    groups = module.configure_optimizers()["optimizer"].param_groups
    assert not frozen & {id(p) for group in groups for p in group["params"]}
    assert not frozen & {id(p) for p in module.parameters()}
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    module.train()
    module.training_step(batch, 0).backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert not any(m.training for m in teacher.modules())
    assert all(value.equal(before[name]) for name, value in teacher.state_dict().items())


def test_vectors_are_not_decayed(teacher: CheckpointTeacher, tokenizer: Tokenizer) -> None:
    module = made(teacher, tokenizer, Objective())
    decayed, others = module.configure_optimizers()["optimizer"].param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.05, 0.0)
    assert {p.ndim for p in others["params"]} == {1}
    assert min(p.ndim for p in decayed["params"]) > 1
    assert len(decayed["params"]) + len(others["params"]) == len(list(module.model.parameters()))


def rates(teacher: CheckpointTeacher, tokenizer: Tokenizer, updates: int, **options: Any) -> list[float]:
    made_by = made(teacher, tokenizer, Objective(), **options).configure_optimizers()
    optimizer, schedule = made_by["optimizer"], made_by["lr_scheduler"]["scheduler"]
    found = []
    for _ in range(updates):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_learning_rate_schedule(teacher: CheckpointTeacher, tokenizer: Tokenizer) -> None:
    found = rates(teacher, tokenizer, 101)
    assert found[:10] == pytest.approx([1e-2 * (k + 1) / 10 for k in range(10)])
    assert found[10] == pytest.approx(1e-2)
    assert found[55] == pytest.approx(1e-2 * (0.1 + 0.9 * 0.5))  # half way down the cosine
    assert found[40] == pytest.approx(1e-2 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 3))))
    assert found[100] == pytest.approx(1e-3)
    assert all(a >= b for a, b in pairwise(found[10:]))
    assert rates(teacher, tokenizer, 2, warmup=0)[0] == pytest.approx(1e-2)


def test_averaging_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    states = [{"model.w": torch.randn(3, 4), "model.n": torch.full((2,), float(k))} for k in range(3)]
    paths = []
    for k, state in enumerate(states):
        torch.save({"state_dict": state}, tmp_path / f"{k}.ckpt")
        paths.append(str(tmp_path / f"{k}.ckpt"))
    averaged = average_weights(paths, prefix="model.")
    assert averaged.keys() == {"w", "n"}
    torch.testing.assert_close(averaged["w"], sum(s["model.w"] for s in states) / 3)
    assert averaged["n"].tolist() == [1.0, 1.0]
    assert averaged["w"].dtype == torch.float32
    assert average_weights(paths[:1], prefix="model.")["w"].equal(states[0]["model.w"])


def test_resume_points_sort_by_number(tmp_path: Path) -> None:
    for step in (1000, 200, 90):
        torch.save({}, tmp_path / f"resume-step={step}.ckpt")
    assert [path.stem for path in resume_points(tmp_path)] == [f"resume-step={n}" for n in (90, 200, 1000)]
    assert newest_resume_point(tmp_path).stem == "resume-step=1000"
    assert newest_resume_point(tmp_path / "none") is None
