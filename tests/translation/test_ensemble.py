"""Several teachers in one book: the mean of their distributions, of models of any size with the same units."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from seqkd.cli.main import main
from seqkd.errors import ConfigError, DataError
from seqkd.knowledge import Book
from seqkd.layout import run_directory
from seqkd.losses import BookKd, Outputs
from seqkd.losses.build import objective_of
from seqkd.models.seq2seq import load_seq2seq
from seqkd.tasks.translation.settings import check
from seqkd.tasks.translation.work import TextBook, TextWork
from seqkd.translation.batches import IGNORE, encode_pairs, evaluation_text
from seqkd.translation.book import book_of, make_book, mean_log_probs, missing_entries, open_book
from seqkd.translation.pairs import read_pairs
from tests.pairs_corpus import arguments, make_corpus, settings, train_here

SMALL = "{of: teacher, label: Small, with: ['teacher.model.width=16']}"
BOTH = "{of: book_kd, label: Two teachers, teacher: [teacher, small], control: book_kd, isolates: a second teacher}"
OPTIONS = [f"+variants.small={SMALL}", f"+variants.both={BOTH}", "book.form=dense", "systems=[book_kd,both]"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two teachers, and what is learned from them, by the commands of the recipe: (exp, data)."""
    root = tmp_path_factory.mktemp("ensemble")
    exp, data = root / "exp", make_corpus(root / "data")
    stages = (["prepare"], ["train", "--group", "teachers"], ["book", "make"], ["train", "--group", "students"])
    for stage in stages:
        assert main([*stage, *arguments(exp, data, *OPTIONS)]) == 0, stage
    return exp, data


def test_the_mean_in_closed_form() -> None:
    one, two = torch.tensor([0.8, 0.1, 0.1]).log(), torch.tensor([0.2, 0.5, 0.3]).log()
    torch.testing.assert_close(mean_log_probs([one, two], 1.0).exp(), torch.tensor([0.5, 0.3, 0.2]))
    torch.testing.assert_close(mean_log_probs([one], 1.0), one)
    logits = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    expected = ((logits[0] / 3).softmax(-1) + (logits[1] / 3).softmax(-1)) / 2
    torch.testing.assert_close(mean_log_probs(list(logits), 3.0).exp(), expected)


def test_the_book_holds_the_mean_of_what_the_teachers_give(made: tuple[Path, Path]) -> None:
    exp, data = made
    cfg = settings(exp, data, *OPTIONS)
    runs = [run_directory(cfg, name, 0) for name in ("teacher", "small")]
    place = exp / "book" / "teacher.seed0+small.seed0"
    assert book_of(cfg, runs) == place and book_of(cfg, runs[:1]) == runs[0] / "book"
    (large, tokenizer), (small, _) = (load_seq2seq(run / "model") for run in runs)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in large.parameters())
    book, corpus = Book.open(place), encode_pairs(read_pairs(data / "train")[:8], tokenizer)
    with torch.no_grad():
        for batch in evaluation_text(corpus, 400):
            given = [m(batch.source, batch.source_lengths, batch.inputs).softmax(-1) for m in (large, small)]
            for row, (key, targets) in enumerate(zip(batch.ids, batch.targets, strict=True)):
                valid = targets != IGNORE
                expected = (given[0][row, valid] + given[1][row, valid]) / 2
                torch.testing.assert_close(book.read(key).probs().float(), expected, rtol=0, atol=2e-3)
    assert missing_entries(cfg, runs) == 0 and missing_entries(cfg, runs[::-1]) == 120
    weights = [(exp / name / "seed0/model/model.safetensors").read_bytes() for name in ("book_kd", "both")]
    assert weights[0] != weights[1]


def test_a_book_of_one_of_them_is_another_book(made: tuple[Path, Path]) -> None:
    exp, data = made
    cfg = settings(exp, data, *OPTIONS)
    runs = [run_directory(cfg, name, 0) for name in ("teacher", "small")]
    tokenizer = load_seq2seq(runs[0] / "model")[1]
    objective = objective_of({"kd": {"_target_": "seqkd.losses.BookKd", "temperature": 1.0}}, passes=1)
    assert open_book(cfg, runs, tokenizer, objective)
    (exp / "small/seed0/model/model.safetensors").replace(exp / "aside")
    (exp / "small/seed0/model/model.safetensors").write_bytes(
        (exp / "teacher/seed0/model/model.safetensors").read_bytes()
    )
    with pytest.raises(ConfigError, match="teacher"):
        open_book(cfg, runs, tokenizer, objective)
    (exp / "aside").replace(exp / "small/seed0/model/model.safetensors")


def test_teachers_of_other_units_are_refused(made: tuple[Path, Path], tmp_path: Path) -> None:
    exp, data = made
    other = train_here(tmp_path / "exp", data, "teacher", "tokens.type=char")
    cfg = SimpleNamespace(exp=tmp_path, ngpu=0, data=data)
    with pytest.raises(DataError, match=r"has other units .* teachers of one book need the same"):
        make_book(cfg, [exp / "teacher" / "seed0", other])


@pytest.mark.parametrize("change", ["system.knowledge=live", "system.targets=beam", "system.objective.kd=null"])
def test_several_teachers_need_a_book(change: str, tmp_path: Path) -> None:
    given = ["system=book_kd", "++system.teacher=[teacher,none]", change]
    with pytest.raises(
        ConfigError, match=r"several teachers \(teacher, none\), which are ensembled in a book: it needs"
    ):
        check(settings(tmp_path / "exp", tmp_path / "data", *given))


@pytest.mark.parametrize("form", ["dense", "top_k", "sampled"])
def test_what_is_read_is_what_a_live_teacher_gives(form: str, made: tuple[Path, Path], tmp_path: Path) -> None:
    """The weight by entropy, too, of a book that holds a part; and where the loss has another temperature than it."""
    exp, data = made
    cfg = settings(exp, data, *OPTIONS[:2], f"book.form={form}", "book.k=3")
    (tmp_path / "exp" / "teacher").mkdir(parents=True)
    run = tmp_path / "exp" / "teacher" / "seed0"
    shutil.copytree(exp / "teacher" / "seed0", run, ignore=shutil.ignore_patterns("book"))
    make_book(cfg, [run])
    model, tokenizer = load_seq2seq(run / "model")
    batch = next(iter(evaluation_text(encode_pairs(read_pairs(data / "train")[:8], tokenizer), 400)))
    lengths = (batch.targets != IGNORE).sum(1)
    with torch.no_grad():
        live = Outputs(model(batch.source, batch.source_lengths, batch.inputs)[None], lengths)
    labels = TextWork.labels(None, batch)
    assert labels.by_position and labels.counts.equal(lengths)  # a mean over sentences is to stay one
    for temperature in (1.0, 2.0) if form == "dense" else (1.0,):
        options = {"_target_": "seqkd.losses.BookKd", "temperature": temperature}
        stored = TextBook(open_book(cfg, [run], tokenizer, objective_of({"kd": options}, passes=1)))(batch, live)
        term = BookKd(temperature=temperature)
        weights = []
        for teacher in (live, stored):
            value = term(Outputs(torch.zeros_like(live.logits), lengths), teacher, labels)
            weights.append(float(term.noted["weight"]))
        assert weights[1] == pytest.approx(weights[0], abs=2e-3) and value.isfinite().all()
        if form == "dense":
            torch.testing.assert_close(stored.probs(temperature), live.probs(temperature), atol=2e-3, rtol=0)
