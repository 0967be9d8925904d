"""One training step of every task, by hand; the schedule of the learning rate; averages and resume points."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchaudio.functional import forced_align

from seqkd.data.batches import Batch, Corpus, load_corpus, training_batches
from seqkd.data.specaugment import SpecAugment
from seqkd.data.tokens import Tokenizer, train_tokenizer
from seqkd.losses import (
    AdaptiveSmoothing,
    AlignedSmoothing,
    BestPath,
    Consistency,
    CrossEntropy,
    Ctc,
    Delayed,
    FrameKd,
    Guided,
    Objective,
    SoftTargets,
    Term,
    adaptive_label_smoothing_loss,
    best_path_ctc_loss,
    deep_interactive_loss,
    delayed_kd_loss,
    guided_ctc_loss,
    inter_ctc_kd_loss,
)
from seqkd.models.ctc import CtcModel
from seqkd.models.seq2seq import Seq2SeqModel
from seqkd.shots.lessons import draw
from seqkd.tasks.shots.work import ShotData, SongWork
from seqkd.tasks.translation.work import TextTeacher as TextTeacher
from seqkd.tasks.translation.work import TextTraining, TextWork
from seqkd.teachers import CheckpointTeacher
from seqkd.training.checkpoints import average_weights, newest_resume_point, resume_points
from seqkd.training.module import Distillation, halvings
from seqkd.training.self_knowledge import SelfKnowledge
from seqkd.translation.batches import IGNORE, TextBatch, bounded, encode_pairs, training_text
from seqkd.translation.pairs import read_pairs
from tests.pairs_corpus import make_corpus
from tests.shots import songs
from tests.training.steps import FIRST_UPDATE, SEED, SETTINGS, Still, speech


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


# ---- speech


def by_hand(module: Still, batch: Batch, teacher: CheckpointTeacher, weight: float) -> dict[str, float]:
    """The terms summed over utterances, one utterance and one pass at a time."""
    torch.manual_seed(FIRST_UPDATE)
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
    rising = [[0, 0], [0.2, 0.4]]  # update 0 of 100 is at a twentieth of the way
    objective = Objective(ctc=Ctc(), kd=FrameKd(weight=0.7), consistency=Consistency(weight=rising))
    module = speech(teacher, tokenizer, objective, passes=2, dropout=0.3)
    loss = module.training_step(batch, 0)
    terms = by_hand(module, batch, teacher, 0.4 / 20)
    assert terms["consistency"] > 0.1
    expected = terms["ctc"] + 0.7 * terms["kd"] + 0.4 / 20 * terms["consistency"]
    assert loss.item() == pytest.approx(expected / len(batch.ids), rel=1e-4)
    assert module.sums == pytest.approx({"total": expected / 5, **{k: v / 5 for k, v in terms.items()}}, rel=1e-4)
    loss.backward()
    assert all(p.grad is not None for p in module.model.parameters())


@pytest.mark.parametrize("past", [False, True])
def test_smoothing_at_spikes_and_the_attention_decoder(
    teacher: CheckpointTeacher, tokenizer: Tokenizer, batch: Batch, past: bool
) -> None:
    """Utterance by utterance, by hand: both terms, from a uniform prior and from a past self."""
    smoothing = AlignedSmoothing(weight=0.3)
    objective = Objective(ctc=Ctc(), smoothing=smoothing, attention=AdaptiveSmoothing(layer="attention", weight=0.6))
    module = speech(teacher, tokenizer, objective, decoder_layers=1)
    older = CtcModel(module.model.architecture, teacher.features, teacher.classes).eval()
    module.past = SelfKnowledge("best")
    module.past.past, module.past.refreshes = older, [1] * past
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
    kept = module.sums
    assert kept["smoothing"] == pytest.approx(aligned / len(batch.ids), rel=1e-4)
    assert kept["attention"] == pytest.approx(attention / len(batch.ids), rel=1e-4)
    assert 0 <= kept["smoothing.alpha"] <= 1 and 0 <= kept["attention.alpha"] <= 1
    loss.backward()
    assert all(p.grad is not None for p in module.model.parameters())
    assert all(p.grad is None for p in older.parameters())


def test_processes_share_one_mean(teacher: CheckpointTeacher, tokenizer: Tokenizer, batch: Batch) -> None:
    module = speech(teacher, tokenizer, Objective(ctc=Ctc()))
    alone = module.training_step(batch, 0)
    module.stub.world_size = 2
    module.stub.strategy = SimpleNamespace(reduce=lambda total, reduce_op: total + 3)  # the other process has 3
    assert module.training_step(batch, 0).item() == pytest.approx(alone.item() * 5 * 2 / 8)


@pytest.mark.parametrize(
    ("passes", "weights"),
    [
        (1, {"kd": 0.0, "consistency": 0.0}),
        (2, {"kd": 0.0, "consistency": 0.0}),
        (1, {"kd": 1.0, "consistency": 0.0}),
        (2, {"kd": 0.0, "consistency": 0.2}),
        (2, {"kd": 1.0, "consistency": 0.2}),
    ],
)
def test_terms_without_weight_are_absent(
    teacher: CheckpointTeacher, tokenizer: Tokenizer, batch: Batch, passes: int, weights: dict[str, float]
) -> None:
    objective = Objective(
        ctc=Ctc(), kd=FrameKd(weight=weights["kd"]), consistency=Consistency(weight=weights["consistency"])
    )
    module = speech(teacher, tokenizer, objective, passes=passes)
    assert module.work.sources.keys() == ({"teacher"} if weights["kd"] else set())  # nor is it asked
    module.training_step(batch, 0)
    assert module.sums.keys() == {"total", "ctc", *(name for name, weight in weights.items() if weight)}


FORMS = {
    "guided": (Guided(weight=0.7), guided_ctc_loss),
    "best_path": (BestPath(weight=0.7), best_path_ctc_loss),
    "delayed": (
        Delayed(weight=0.7, max_delay=2, distance="squared"),
        lambda *a, **o: delayed_kd_loss(*a, max_delay=2, distance="squared", **o),
    ),
    "intermediate": (FrameKd(weight=0.7), None),
}


@pytest.mark.parametrize("form", FORMS)
def test_other_forms_of_distillation(teacher: CheckpointTeacher, tokenizer: Tokenizer, batch: Batch, form: str) -> None:
    term, function = FORMS[form]
    terms: dict[str, Term] = {"ctc": Ctc(), "kd": term}
    if function is None:
        terms["inter_ctc"] = Ctc(layer=1, weight=0.5)
        terms["inter_kd"] = FrameKd(layer=1, other_layer="output", weight=0.5)
    module = speech(teacher, tokenizer, Objective(**terms))
    output = module.model(batch.features, batch.feature_lengths, ["1"])
    logits, _ = teacher.logits(batch.features, batch.feature_lengths)
    common = (logits, batch.targets, output.lengths, batch.target_lengths)
    weights = {"kd_weight": 0.7, "labelled": batch.labelled, "reduction": "sum"}
    if function is None:
        assert not torch.equal(output.layers["1"], output.logits)
        weights |= {"inter_kd_weight": 0.5, "inter_ctc_weight": 0.5}
        expected = inter_ctc_kd_loss(output.logits, [output.layers["1"]], *common, **weights)
    else:
        expected = function(output.logits, *common, **weights)
    loss = module.training_step(batch, 0)
    assert loss.item() * len(batch.ids) == pytest.approx(expected.total.item(), rel=1e-5)
    assert module.sums.keys() == {"total", *expected.terms}


def test_unlabelled_utterances_learn_from_the_teacher_only(
    teacher: CheckpointTeacher, tokenizer: Tokenizer, corpus: Corpus
) -> None:
    ids = [u for u in corpus.transcripts if "extra" in u][:2]
    unlabelled = next(iter(training_batches(corpus, [ids], workers=0)))
    module = speech(teacher, tokenizer, Objective(ctc=Ctc(), kd=FrameKd()))
    module.training_step(unlabelled, 0)
    assert module.sums["ctc"] == 0.0
    assert module.sums["kd"] > 0.0


def test_updates_depend_on_seed_and_number_alone(
    teacher: CheckpointTeacher, tokenizer: Tokenizer, corpus: Corpus, batch: Batch
) -> None:
    augment = SpecAugment(warp=5)

    def loss(step: int, rank: int = 0) -> float:
        module = speech(teacher, tokenizer, Objective(ctc=Ctc()), augment, dropout=0.3)
        module.stub.global_step, module.stub.global_rank = step, rank
        torch.manual_seed(step)  # whatever was drawn before
        fresh = next(iter(training_batches(corpus, [batch.ids], workers=0)))
        return module.training_step(fresh, 0).item()

    assert loss(4) == loss(4)
    assert len({loss(4), loss(5), loss(4, rank=1)}) == 3


@pytest.mark.parametrize("masks", ["same", "independent"])
def test_views(teacher: CheckpointTeacher, tokenizer: Tokenizer, batch: Batch, masks: str) -> None:
    module = speech(teacher, tokenizer, Objective(ctc=Ctc()), SpecAugment(warp=5), passes=2, masks=masks)
    original = batch.features.clone()
    seen = module.work.views(batch)
    features, hidden = seen.features, seen.hidden
    assert features.shape == (1, *original.shape)
    assert hidden.shape == (1 if masks == "same" else 2, *original.shape)
    assert hidden.any(dim=(1, 2, 3)).all()
    assert masks == "same" or not hidden[0].equal(hidden[1])
    assert batch.features.equal(original)
    assert not features[0].equal(original)  # one warp that all views, and the teacher's, share


@pytest.mark.parametrize("view", ["clean", "student"])
def test_the_input_of_the_teacher(
    teacher: CheckpointTeacher, tokenizer: Tokenizer, batch: Batch, view: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = []
    logits = teacher.logits
    monkeypatch.setattr(teacher, "logits", lambda x, lengths: (heard.append(x.clone()), logits(x, lengths))[1])
    module = speech(teacher, tokenizer, Objective(ctc=Ctc(), kd=FrameKd()), SpecAugment(), teacher_view=view)
    original = batch.features.clone()
    module.training_step(batch, 0)
    assert heard[0].equal(original) == (view == "clean")
    hidden = heard[0] != original
    assert (heard[0] == teacher.fill)[hidden].all()


def test_passes_that_hear_differently_have_a_teacher_each(
    teacher: CheckpointTeacher, tokenizer: Tokenizer, batch: Batch
) -> None:
    objective = Objective(ctc=Ctc(), kd=FrameKd())
    module = speech(teacher, tokenizer, objective, SpecAugment(), passes=2, masks="independent")
    seen = module.work.views(batch)
    student = module.work.outputs(module.model, seen, passes=2)
    theirs = module.work.sources["teacher"](seen, student).logits
    assert theirs.shape == student.logits.shape == (2, *student.logits.shape[1:])
    for view, logits, own in zip(seen.hidden, theirs, student.logits, strict=True):
        given = torch.where(view, teacher.fill, seen.features[0])
        torch.testing.assert_close(logits, teacher.logits(given, batch.feature_lengths)[0])
        given = torch.where(view, module.model.feature_mean, seen.features[0])
        torch.testing.assert_close(own, module.model(given, batch.feature_lengths).logits)
    assert not theirs[0].equal(theirs[1])


@pytest.mark.parametrize("masks", ["same", "independent"])
def test_the_teacher_is_given_the_voices_of_the_passes(
    teacher: CheckpointTeacher, tokenizer: Tokenizer, batch: Batch, masks: str
) -> None:
    augment = SpecAugment(freq_masks=0, time_masks=0, mel_warp=0.05)
    module = speech(teacher, tokenizer, Objective(ctc=Ctc(), kd=FrameKd()), augment, passes=2, masks=masks)
    seen = module.work.views(batch)
    views = 1 if masks == "same" else 2
    assert seen.features.shape == (views, *batch.features.shape)
    assert not any(one.equal(batch.features) for one in seen.features)
    assert masks == "same" or not seen.features[0].equal(seen.features[1])
    student = module.work.outputs(module.model, seen, passes=2)
    theirs = module.work.sources["teacher"](seen, student).logits
    assert len(theirs) == views
    for given, logits in zip(seen.features, theirs, strict=True):
        torch.testing.assert_close(logits, teacher.logits(given, batch.feature_lengths)[0])
    for given, own in zip(seen.features.expand(2, -1, -1, -1), student.logits, strict=True):
        torch.testing.assert_close(own, module.model(given, batch.feature_lengths).logits)


def test_frames_off_by_one_are_counted(
    teacher: CheckpointTeacher, tokenizer: Tokenizer, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, lengths = teacher.logits(batch.features, batch.feature_lengths)
    longest = int(lengths.max())
    monkeypatch.setattr(teacher, "logits", lambda *_: (full[:, :-1], lengths.clamp(max=longest - 1)))
    module = speech(teacher, tokenizer, Objective(ctc=Ctc(), kd=FrameKd()))
    for update in (1, 2):
        module.training_step(batch, 0)
        assert module.work.sources["teacher"].counts["off_by_one"] == update * int((lengths == longest).sum())


def test_the_teacher_is_neither_saved_nor_trained(
    teacher: CheckpointTeacher, tokenizer: Tokenizer, batch: Batch
) -> None:
    module = speech(teacher, tokenizer, Objective(ctc=Ctc(), kd=FrameKd()))
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
    module = speech(teacher, tokenizer, Objective(ctc=Ctc()))
    decayed, others = module.configure_optimizers()["optimizer"].param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.05, 0.0)
    assert {p.ndim for p in others["params"]} == {1}
    assert min(p.ndim for p in decayed["params"]) > 1
    assert len(decayed["params"]) + len(others["params"]) == len(list(module.model.parameters()))


def rates(teacher: CheckpointTeacher, tokenizer: Tokenizer, updates: int, **options: Any) -> list[float]:
    made_by = speech(teacher, tokenizer, Objective(ctc=Ctc()), **options).configure_optimizers()
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


# ---- translation


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> tuple[TextBatch, int]:
    """A batch of sentence pairs of different lengths, and how many classes there are."""
    pairs = read_pairs(make_corpus(tmp_path_factory.mktemp("pairs")) / "train")[:6]
    lines = [text for pair in pairs for text in (pair.source, pair.target)]
    tokenizer = train_tokenizer(lines, type="word", vocab_size=0, special="<boundary>")
    corpus = encode_pairs(pairs, tokenizer)
    batch = next(iter(training_text(corpus, [list(corpus.sources)], 0)))
    assert (batch.targets == IGNORE).any()
    return batch, len(tokenizer)


def text_model(classes: int, seed: int, dropout: float = 0.0) -> Seq2SeqModel:
    torch.manual_seed(seed)
    architecture = {"kind": "lstm", "width": 12, "layers": 1, "decoder_layers": 1, "dropout": dropout}
    return Seq2SeqModel(architecture, classes)


def translation(classes: int, objective: Objective, *, passes: int = 1, dropout: float = 0.0) -> Still:
    """A fresh student at update 0, beside a live teacher."""
    work = object.__new__(TextWork)
    teacher = text_model(classes, 2).requires_grad_(False)
    work.model, work.settings = text_model(classes, 1, dropout), TextTraining(max_tokens=99, max_length=9, **SETTINGS)
    work.sources = {"teacher": TextTeacher(lambda seen: teacher(seen.source, seen.source_lengths, seen.inputs))}
    return Still(work, objective, seed=SEED, passes=passes)


def test_a_step_of_translation(sentences: tuple[TextBatch, int]) -> None:
    """Position by position, by hand: labels, a teacher and the agreement of two passes; the mean is over positions."""
    batch, classes = sentences
    objective = Objective(
        labels=CrossEntropy(weight=0.5),
        kd=FrameKd(weight=0.4, distance="kl", temperature=2.0),
        consistency=Consistency(weight=0.3),
    )
    module = translation(classes, objective, passes=2, dropout=0.4)
    loss = module.training_step(batch, 0)
    torch.manual_seed(FIRST_UPDATE)
    given = (batch.source, batch.source_lengths, batch.inputs)
    first, second = module.model(*given), module.model(*given)
    theirs = module.work.sources["teacher"].logits(batch)
    terms, positions = dict.fromkeys(("labels", "kd", "consistency"), 0.0), 0
    for row, column in (batch.targets != IGNORE).nonzero().tolist():
        positions += 1
        one, two = (logits[row, column].log_softmax(-1) for logits in (first, second))
        q = (theirs[row, column] / 2).log_softmax(-1)
        for logits in (first, second):
            terms["labels"] -= logits[row, column].log_softmax(-1)[batch.targets[row, column]].item() / 2
            tempered = (logits[row, column] / 2).log_softmax(-1)
            terms["kd"] += 4 * (q.exp() * (q - tempered)).sum().item() / 2
        terms["consistency"] += 0.5 * ((one.exp() - two.exp()) * (one - two)).sum().item()
    expected = 0.5 * terms["labels"] + 0.4 * terms["kd"] + 0.3 * terms["consistency"]
    assert terms["consistency"] > 1e-3 and terms["kd"] > 1e-3
    assert loss.item() == pytest.approx(expected / positions, rel=1e-4)
    assert module.sums == pytest.approx(
        {"total": expected / positions, **{name: value / positions for name, value in terms.items()}}, rel=1e-4
    )
    loss.backward()
    assert all(p.grad is not None for p in module.model.parameters())


@pytest.mark.parametrize("past", [False, True])
def test_a_past_self_is_asked_once_there_is_one(sentences: tuple[TextBatch, int], past: bool) -> None:
    batch, classes = sentences
    module = translation(classes, Objective(labels=AdaptiveSmoothing()), passes=2)
    older = text_model(classes, 5).eval()
    module.past = SelfKnowledge("best")
    module.past.past, module.past.refreshes = older, [1] * past
    loss = module.training_step(batch, 0)
    given = (batch.source, batch.source_lengths, batch.inputs)
    expected = adaptive_label_smoothing_loss(module.model(*given), batch.targets, older(*given) if past else None)
    assert loss.item() == pytest.approx(expected.total.item(), rel=1e-5)
    assert module.sums["labels.alpha"] == pytest.approx(expected.terms["alpha"].item(), rel=1e-5)
    loss.backward()
    assert all(p.grad is None for p in older.parameters())


def test_a_boundary_before_and_after() -> None:
    targets, lengths = torch.tensor([[4, 5, 6], [7, 9, 9], [3, 2, 9]]), torch.tensor([3, 1, 2])
    inputs, labels = bounded(targets, lengths, torch.tensor([True, True, False]))
    assert inputs.tolist() == [[0, 4, 5, 6], [0, 7, 0, 0], [0, 3, 2, 0]]
    assert labels.tolist() == [[4, 5, 6, 0], [7, 0, IGNORE, IGNORE], [IGNORE] * 4]


# ---- songs


@pytest.fixture(scope="module")
def shot_data(tmp_path_factory: pytest.TempPathFactory) -> ShotData:
    data = tmp_path_factory.mktemp("songs")
    for name in ("train", "dev"):
        songs.write_set(data, name, 4, 40)
    return ShotData(songs.settings(data / "exp", data, "model.dropout=0"))


@pytest.mark.parametrize("taught", [False, True])
def test_a_step_of_songs_is_the_published_one(shot_data: ShotData, taught: bool) -> None:
    rng = np.random.default_rng(0)
    soft = {key: rng.dirichlet(np.ones(songs.CLASSES), len(f)) for key, f in shot_data.train.frames.items()}
    work = SongWork(
        shot_data, shot_data.train, shot_data.fresh_model(shot_data.train), soft if taught else None, seed=0
    )
    hard = {"labels": CrossEntropy(weight=0.5 if taught else 1.0)}
    objective = Objective(**hard, **({"kd": SoftTargets(weight=0.5, temperature=20.0)} if taught else {}))
    module = Still(work, objective, seed=SEED)
    batch = draw(work.known, batch=3, window=10, seed=0, update=0)
    logits = module.model(batch.frames)
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.classes.flatten())
    if taught:
        expected = deep_interactive_loss(logits, batch.classes, batch.soft, kd_weight=0.5, temperature=20.0).total
    torch.testing.assert_close(module.training_step(batch, 0), expected)
    assert module.sums.keys() == {"total", "labels", *(["kd"] if taught else [])}


@pytest.mark.parametrize("seconds", [1, 2, 4])
def test_a_window_is_of_seconds_at_every_frame_rate(shot_data: ShotData, seconds: int) -> None:
    """``training.window`` is 24 s: 24 frames of 1 s, 12 of 2 s, 6 of 4 s."""
    assert shot_data.training.window == 24
    work = SongWork(shot_data, shot_data.train, shot_data.fresh_model(shot_data.train, seconds), seed=0)
    for world in (1, 2):
        batches = list(zip(range(3), *(work.training(0, rank, world) for rank in range(world)), strict=False))
        for _, *shares in batches:
            assert sum(len(share.frames) for share in shares) == shot_data.training.batch
            assert all(share.frames.shape[1] * seconds == share.classes.shape[1] * seconds == 24 for share in shares)


def test_the_rate_on_a_plateau_is_torchs() -> None:
    """What follows from the history is what the scheduler would do, look by look."""
    rng = torch.Generator().manual_seed(0)
    looks = (torch.rand(60, generator=rng) * torch.linspace(1, 0.3, 60)).tolist()
    looks[20:26] = [looks[19] * (1 - 2e-5 * n) for n in range(6)]  # too little to count as progress
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    assert halvings([]) == 0
    for count, look in enumerate(looks, 1):
        schedule.step(look)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(max(0.5 ** halvings(looks[:count]), 1e-8))
    assert 10 < halvings(looks) < 30


@pytest.mark.parametrize(
    ("looks", "patience", "stops"),
    [([], 2, False), ([3, 2, 2], 2, False), ([3, 2, 2, 2.5], 2, True), ([3, 2, 2, 1], 2, False), ([3, 4, 5], 0, False)],
)
def test_patience_is_of_looks_without_progress(looks: list[float], patience: int, stops: bool) -> None:
    """Whether they were of this process or of one that was killed then."""
    trainer = SimpleNamespace(should_stop=False)
    module = SimpleNamespace(looks=looks, settings=SimpleNamespace(patience=patience), trainer=trainer)
    Distillation.stop_if_done(module)
    assert trainer.should_stop == stops
