"""Students that read the book learn what students beside a live teacher learn."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from seqkd.cli.main import main
from seqkd.data.batches import load_corpus, training_batches
from seqkd.data.specaugment import SpecAugment, augment_of
from seqkd.data.tokens import Tokenizer
from seqkd.errors import ConfigError, DataError
from seqkd.knowledge import Book, info
from seqkd.layout import plain
from seqkd.losses import BookKd, Labels, Objective, Outputs
from seqkd.losses.build import objective_of
from seqkd.tasks.asr.work import Seen, SpeechTeacher
from seqkd.teachers import CheckpointTeacher, EnsembleTeacher
from seqkd.teachers.ctc_book import open_book, pages_of, plans
from seqkd.teachers.making import make
from seqkd.teachers.own import dev_losses, live_teacher, teacher_ids, weights_of
from tests.runs import arguments, settings, train_here
from tests.training.steps import speech

SHIFT = 40.0  # ms


@pytest.fixture
def exp(tone_exp: Path, tmp_path: Path) -> Path:
    shutil.copytree(tone_exp, tmp_path / "exp")
    return tmp_path / "exp"


def configured(exp: Path, tones: Path, *overrides: str) -> DictConfig:
    return settings(exp, tones, "book=dense", "book.seeds=3", "system=kd", *overrides)


def chosen(cfg: DictConfig) -> Objective:
    return objective_of(plain(cfg.system.objective))


def opened(cfg: DictConfig, utterances: list[str] = ()) -> Book:
    return open_book(cfg, chosen(cfg), Tokenizer.load(Path(cfg.tokens.directory)), SHIFT, utterances)


def gradient(module: Any, batch: Any) -> torch.Tensor:
    module.training_step(batch, 0).backward()
    return torch.cat([p.grad.flatten() for p in module.model.parameters() if p.grad is not None])


@pytest.mark.parametrize(
    "system",
    [
        ["system=kd"],
        [
            *("system=kd", "system.teacher_view=clean", "system.objective.kd.distance=kl"),
            "+system.objective.kd.temperature=2.0",
        ],
        ["system=cons_kd_specaugment", "system.objective.consistency.weight=0.5"],
        ["system=cons_kd_voice", "system.objective.consistency.weight=0.5"],
        ["system=guided", "system.objective.kd.weight=0.5"],
        [
            *("system=kd", "system.objective.kd.weight=0.5", "system.objective.kd.distance=kl"),
            "+system.objective.kd.select=nonblank",
        ],
    ],
    ids=" ".join,
)
def test_the_book_gives_the_gradient_of_the_live_teacher(exp: Path, tones: Path, system: list[str]) -> None:
    cfg = configured(exp, tones, *system, "student.augment.warp=0")
    make(cfg, [cfg])
    objective, tokenizer = chosen(cfg), Tokenizer.load(exp / "tokens")
    view = {name: cfg.system[name] for name in ("passes", "masks", "teacher_view")}
    corpus = load_corpus(tones, ["train"], tokenizer)
    knowledge = pages_of(cfg, opened(cfg, list(corpus.transcripts)), rank=0)
    ids = list(corpus.transcripts)[:5]
    batch = next(iter(training_batches(corpus, [ids], 0, knowledge)))
    augment, teacher = augment_of(cfg.student.augment, cfg.system), live_teacher(cfg)
    read = gradient(speech(teacher, tokenizer, objective, augment, **view), batch)

    live = speech(teacher, tokenizer, objective, augment, **view)
    entries = batch.teacher_outputs
    batch.teacher_outputs = None
    if entries.seeds is not None:  # the live teacher is given the very masks that the book replays
        draws = iter([augment.replay(ids, seeds, "cpu") for seeds in entries.seeds])
        live.work.augment = Drawn(augment, draws)
    written = gradient(live, batch)
    assert written.norm() > 0
    torch.testing.assert_close(read, written, rtol=2e-3, atol=2e-3 * float(written.abs().max()))


class Drawn(SpecAugment):
    """Masks as it is told to."""

    def __init__(self, augment: SpecAugment, draws: Any) -> None:
        super().__init__(**augment.__dict__)
        object.__setattr__(self, "draws", draws)

    def draw(self, *_: Any) -> Any:
        """Return the next one."""
        return next(self.draws)


def test_a_book_of_moved_frames_is_replayed_by_its_seeds(exp: Path, tones: Path) -> None:
    cfg = configured(exp, tones)
    assert cfg.student.augment.warp == 5
    make(cfg, [cfg])
    book = opened(cfg)
    utterance, teacher = book.utterances[0], live_teacher(cfg)
    features = load_corpus(tones, ["train"], Tokenizer.load(exp / "tokens")).store[utterance][None]
    augment, length = SpecAugment(**cfg.student.augment), torch.tensor([features.shape[1]])
    for seed in range(3):
        draws = augment.replay([utterance], [seed], "cpu")
        warped = augment.warp_time(features, length, draws)
        inputs = torch.where(augment.hidden(warped, length, draws), teacher.fill, warped)
        log_probs = teacher.logits(inputs, length)[0][0].log_softmax(-1)
        torch.testing.assert_close(book.read(utterance, seed).log_probs(), log_probs, rtol=2e-3, atol=2e-3)


def test_one_and_three_processes_make_the_same_book(exp: Path, tones: Path) -> None:
    one, three = (configured(exp, tones, f"book.directory={exp}/{name}") for name in ("one", "three"))
    make(one, [one])
    for shard in (2, 0, 1):
        make(three, [three], shard, 3)
    assert info(exp / "one" / "masked").content == info(exp / "three" / "masked").content
    assert info(exp / "one" / "masked").entries == 24 * 3


def test_seeds_depend_on_run_update_and_rank(exp: Path, tones: Path) -> None:
    cfg = configured(exp, tones)
    make(cfg, [cfg])
    book = opened(cfg)
    ids = list(book.utterances)

    def seeds(step: int, rank: int = 0, run: int = 0) -> list[list[int]]:
        return pages_of(configured(exp, tones, f"seed={run}"), book, rank)(ids, step).seeds

    assert seeds(3) == seeds(3)
    assert len({str(seeds(3)), str(seeds(4)), str(seeds(3, rank=1)), str(seeds(3, run=1))}) == 4
    assert {seed for row in seeds(3) for seed in row} == {0, 1, 2}


def test_stage_5_and_6(exp: Path, tones: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = arguments(exp, tones, "systems=[kd,kd_unlabelled]", "book=top_k", "book.k=2", "book.seeds=2")
    assert main(["book", "make", *options]) == 0
    assert "144 entries written" not in capsys.readouterr().out
    assert info(exp / "book" / "masked").entries == 24 * 2
    assert info(exp / "book" / "masked_unlabelled").entries == 36 * 2
    written = {path: path.stat().st_mtime_ns for path in (exp / "book").rglob("*.safetensors")}
    assert main(["book", "make", *options]) == 0
    assert written == {path: path.stat().st_mtime_ns for path in (exp / "book").rglob("*.safetensors")}
    for system in ("kd", "kd_unlabelled"):
        train_here(exp, tones, system, "book=top_k", "book.k=2", "book.seeds=2", f"system={system}")
        description = (exp / system / "seed0" / "config.yaml").read_text()
        kept = "masked_unlabelled" if "unlabelled" in system else "masked"
        assert f"book: {Book.open(exp / 'book' / kept).manifest.hash}" in description
    # Another form: the book is made anew, and what was trained on the other no longer counts.
    assert main(["book", "make", *options, "book=dense"]) == 0
    assert info(exp / "book" / "masked").manifest.form.name == "dense"
    assert info(exp / "book" / "masked.1").manifest.form.name == "top-k"  # it may have taken long


def test_live_there_is_no_book(exp: Path, tones: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["book", "make", *arguments(exp, tones, "systems=[kd]", "book=live")]) == 0
    assert "there is no book to make" in capsys.readouterr().out
    assert not (exp / "book").exists()


def test_systems_share_a_book(exp: Path, tones: Path) -> None:
    kd, clean = configured(exp, tones), configured(exp, tones, "system.teacher_view=clean")
    more = configured(exp, tones, "system=kd_unlabelled")
    alone = configured(exp, tones, "system=student")
    found = plans([kd, more, clean, alone])
    assert [(plan.view, plan.unlabelled, plan.augment is None) for plan in found] == [
        ("student", False, False),
        ("student", True, False),
        ("clean", False, True),
    ]
    # 12 updates of 8 s; 24 utterances of the tone corpus, and 36.
    tokenizer = Tokenizer.load(exp / "tokens")
    free = configured(exp, tones, "book.seeds=null", "student.training.updates=50")
    for plan in found[:2]:
        seconds = sum(plan.sets(free, tokenizer).corpus.seconds().values())
        assert plan.seeds(free, tokenizer) == math.ceil(50 * 8 / seconds) > 1
    assert found[0].seeds(free, tokenizer) > found[1].seeds(free, tokenizer)
    other = configured(exp, tones, "system.time_mask_factor=2")
    with pytest.raises(ConfigError, match="system kd masks its features otherwise than the systems before it"):
        plans([kd, other])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            ["student.augment.time_width=7"],
            r"was made with masks \(.*time_width 20.*\) and the student is trained",
        ),
        (["+system.objective.kd.temperature=3", "book=sampled"], r"was made at temperature 1 and the student wants 3"),
        (["student.augment.warp=0"], r"was made with time-warp \(frames 5\), which moves frames, and the student"),
        (["features.num_mel_bins=24"], r"has features num_mel_bins 20 and the student num_mel_bins 24"),
        (["system=cons_kd_specaugment"], r"passes that are masked independently share one time-warp"),
    ],
)
def test_a_book_that_does_not_fit_is_refused(exp: Path, tones: Path, change: list[str], sentence: str) -> None:
    made_as = [one for one in change if one.startswith("book=")]
    cfg = configured(exp, tones, *made_as)
    make(cfg, [cfg])
    with pytest.raises(ConfigError, match=sentence):
        opened(configured(exp, tones, *change))


def test_another_teacher_tokenizer_clock_or_set_is_refused(exp: Path, tones: Path) -> None:
    cfg = configured(exp, tones)
    make(cfg, [cfg])
    objective, tokenizer = chosen(cfg), Tokenizer.load(exp / "tokens")
    with pytest.raises(ConfigError, match=r"has frame shift in ms 40 and the student 20"):
        open_book(cfg, objective, tokenizer, 20.0, [])
    with pytest.raises(DataError, match=r"has no utterance 's1-dev001'"):
        open_book(cfg, objective, tokenizer, SHIFT, ["s1-dev001"])
    train_here(exp, tones, "teacher", "seed=1")
    other = configured(exp, tones, f"teacher.import_from={exp}/teacher/seed1/model")
    with pytest.raises(ConfigError, match=r"has teachers teacher \(\w+\) and the student \w+; name the book"):
        opened(other)
    with pytest.raises(ConfigError, match=r"clean: no book here; let the teacher run by book="):
        train_here(exp, tones, "kd", "book=dense", "system=kd", "system.teacher_view=clean")


def test_a_regularised_book_needs_transcripts(exp: Path, tones: Path) -> None:
    cfg = configured(exp, tones, "book.regularisation=0.2", "student.augment.warp=0")
    make(cfg, [cfg])
    book = opened(configured(exp, tones, "book.regularisation=0.2", "student.augment.warp=0"))
    plain = configured(exp, tones, "student.augment.warp=0", f"book.directory={exp}/plain")
    make(plain, [plain])
    for utterance in book.utterances[:3]:
        mixed, pure = book.read(utterance).probs(), opened(plain).read(utterance).probs()
        onehot = (mixed - 0.8 * pure) / 0.2  # the forced alignment
        assert ((onehot - onehot.round()).abs() < 0.02).all()
        assert onehot.round().sum(-1).eq(1).all()
    unlabelled = configured(exp, tones, "book.regularisation=0.2", "system=kd_unlabelled", f"book.directory={exp}/u")
    with pytest.raises(ConfigError, match=r"mixes transcripts in, but utterance '\S+extra\S+' has none"):
        make(unlabelled, [unlabelled])


def test_several_teachers_are_averaged(exp: Path, tones: Path) -> None:
    train_here(exp, tones, "teacher_guided", "seed=1")
    cfg = configured(exp, tones, "teacher.seeds=2", "student.augment.warp=0")
    both = [CheckpointTeacher.from_directory(exp / run / "model") for run in ("teacher/seed0", "teacher_guided/seed1")]
    corpus = load_corpus(tones, ["dev"], Tokenizer.load(exp / "tokens"))
    batch = next(iter(training_batches(corpus, [list(corpus.transcripts)[:3]], 0)))
    inputs = (batch.features, batch.feature_lengths)
    expected = sum(one.logits(*inputs)[0].softmax(-1) for one in both) / 2
    logits, lengths = live_teacher(cfg).logits(*inputs)
    torch.testing.assert_close(logits.softmax(-1), expected)
    assert lengths.equal(both[0].logits(*inputs)[1])
    hot = live_teacher(cfg, temperature=3.0).logits(*inputs)[0]
    expected = sum((one.logits(*inputs)[0] / 3).softmax(-1) for one in both) / 2
    torch.testing.assert_close((hot / 3).softmax(-1), expected)
    make(cfg, [cfg])
    assert [one.weight for one in Book.open(exp / "book" / "masked").manifest.teachers] == [0.5, 0.5]

    losses = dev_losses(cfg)
    by_dev = configured(exp, tones, "teacher.seeds=2", "teacher.weights=dev")
    ratio = weights_of(by_dev)[0] / weights_of(by_dev)[1]
    assert ratio == pytest.approx(float(torch.tensor(losses[1] - losses[0]).exp()), rel=1e-4)
    assert [
        one.weight for one in teacher_ids(configured(exp, tones, "teacher.seeds=2", "teacher.weights=[3,1]"), {})
    ] == [
        0.75,
        0.25,
    ]
    for wrong in ("teacher.weights=[1]", "teacher.weights=best"):
        with pytest.raises(ConfigError, match=r"expected null, dev, or a list of"):
            weights_of(configured(exp, tones, "teacher.seeds=2", wrong))


def test_one_teacher_is_itself_however_often(exp: Path, tones: Path) -> None:
    teacher = live_teacher(configured(exp, tones))
    corpus = load_corpus(tones, ["dev"], Tokenizer.load(exp / "tokens"))
    batch = next(iter(training_batches(corpus, [list(corpus.transcripts)[:3]], 0)))
    alone = teacher.logits(batch.features, batch.feature_lengths)[0].log_softmax(-1)
    thrice = EnsembleTeacher([teacher] * 3, [0.2, 0.3, 0.5]).logits(batch.features, batch.feature_lengths)[0]
    torch.testing.assert_close(thrice.log_softmax(-1), alone)


def test_a_book_of_a_part_is_trusted_as_its_teacher(exp: Path, tones: Path) -> None:
    """By the entropy of the whole posterior, which the book keeps, on the student's frames."""
    overrides = ["system=book_kd", "system.teacher_view=clean", "student.augment.warp=0", "book=top_k", "book.k=2"]
    cfg = settings(exp, tones, *overrides)
    make(cfg, [cfg])
    tokenizer = Tokenizer.load(exp / "tokens")
    corpus = load_corpus(tones, ["train"], tokenizer)
    ids = list(corpus.transcripts)[:4]
    batch = next(iter(training_batches(corpus, [ids], 0, pages_of(cfg, opened(cfg, ids), rank=0))))
    logits, lengths = live_teacher(cfg).logits(batch.features, batch.feature_lengths)
    student = Outputs(torch.zeros(1, *logits.shape), lengths)
    seen = Seen(batch, batch.features[None], torch.zeros_like(batch.features, dtype=torch.bool)[None])
    stored = SpeechTeacher(None, clean=True)(seen, student)
    term, weights = BookKd(), []
    for teacher in (Outputs(logits[None].detach(), lengths), stored, Outputs(stored.logits, lengths)):
        term(student, teacher, Labels(batch.targets, batch.target_lengths))
        weights.append(float(term.noted["weight"]))
    assert weights[1] == pytest.approx(weights[0], abs=2e-3)
    assert weights[2] != pytest.approx(weights[0], abs=2e-3)  # the tail spread evenly
