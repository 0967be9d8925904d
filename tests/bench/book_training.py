"""What learning from a book costs and gives, on the espeak_voices recipe's default preset; writes book_training.md.

    egs/espeak_voices/ctc_kd/run.sh --stop-stage teachers     # corpus, features, tokenizer, teacher
    python -m tests.bench.book_training

Times updates without a teacher, with the book and beside the live teacher, interleaved, on one thread; then trains KD
from every form of the book and beside the live teacher (SEEDS seeds each, two at a time), and scores them.
Run it on an idle machine: it uses two cores for about twenty minutes.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import torch
from omegaconf import DictConfig

from seqkd.cli.job import Job
from seqkd.cli.jobs import run_jobs
from seqkd.cli.main import main as seqkd
from seqkd.cli.settings import parse, parser
from seqkd.config import compose
from seqkd.decoding.run import decode
from seqkd.files import write_text
from seqkd.knowledge import info
from seqkd.scoring.wer import score
from seqkd.tasks import task_of
from seqkd.training.module import Distillation
from seqkd.training.study import Study

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "egs" / "espeak_voices" / "ctc_kd"
SEEDS, BLOCKS, UPDATES = 2, 9, 15
KL = "system.objective.kd.distance=kl"
FORMS = {
    "live teacher": ["book=live"],
    "dense": ["book=dense"],
    "top-8 + tail": ["book=top_k"],
    "top-8 renormalised": ["book=top_k", "book.tail=renormalise"],
    "top-2 renormalised": ["book=top_k", "book.k=2", "book.tail=renormalise"],
    "sampled 50": ["book=sampled"],
}


def options(exp: Path, *overrides: str) -> list[str]:
    """Command-line options of the default preset with an experiment directory of this benchmark's own."""
    theirs = RECIPE / "exp" / "default"
    return [
        *("--conf", str(RECIPE / "conf"), "--preset", "default", "--exp", str(exp)),
        *("--data", str(RECIPE / "data" / "default"), "--nj", "2"),
        f"tokens.directory={theirs / 'tokens'}",
        f"teacher.import_from={theirs / 'teacher' / 'seed0' / 'model'}",
        *(KL, "book.seeds=16"),
        *overrides,
    ]


def settings(exp: Path, *overrides: str) -> DictConfig:
    """The composed settings."""
    return compose(parse(parser("bench", ""), options(exp, *overrides)))


def updates(cfg: DictConfig) -> Callable[[], float]:
    """Something that trains ``UPDATES`` updates of a system, data loading included, and returns its seconds."""
    task = task_of(cfg)
    study = Study(task, cfg)
    work = task.workload(study)
    module = Distillation(work, study.objective, seed=0, passes=cfg.system.passes)
    module._trainer = SimpleNamespace(global_step=0, world_size=1, global_rank=0, strategy=None)
    module.train()
    optimizer = module.configure_optimizers()["optimizer"]

    def endless() -> Iterator:
        while True:
            yield from work.training(0, 0, 1)

    source = endless()

    def run() -> float:
        began = time.perf_counter()
        for _ in range(UPDATES):
            optimizer.zero_grad()
            module.training_step(next(source), 0).backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), work.settings.gradient_clip)
            optimizer.step()
        return time.perf_counter() - began

    return run


def times(exp: Path) -> list[str]:
    """Rows of the first table."""
    rows = []
    for label, alone, taught in (
        ("one pass (KD)", "student", "kd"),
        ("two passes (Cons-KD)", "student_two_pass", "cons_kd"),
    ):
        runs = {
            "none": updates(settings(exp, f"system={alone}")),
            "book": updates(settings(exp, f"system={taught}", "book=dense")),
            "live": updates(settings(exp, f"system={taught}", "book=live")),
        }
        for run in runs.values():
            run()
        found = {name: [] for name in runs}
        for _ in range(BLOCKS):
            for name, run in runs.items():
                found[name].append(run() / UPDATES)
        book, live = (
            statistics.median(x / y for x, y in zip(found[name], found["none"], strict=True))
            for name in ("book", "live")
        )
        none = 1000 * statistics.median(found["none"])
        rows.append(
            f"| {label} | {none:.1f} | {1000 * statistics.median(found['book']):.1f} | {book:.2f} | {live:.2f} |"
        )
        print(rows[-1], flush=True)
    return rows


def errors(exp: Path) -> list[str]:
    """Rows of the second table: books are made first, then all students trained."""
    jobs = []
    for name, overrides in FORMS.items():
        home = exp / name.replace(" ", "_")
        if "book=live" not in overrides:
            seqkd(["book", "make", *options(home, "systems=[kd]", *overrides)])
        for seed in range(SEEDS):
            run = ["train", "--one", *options(home, "system=kd", f"seed={seed}", *overrides)]
            jobs.append(Job(f"{name}, seed {seed}", run, home / f"seed{seed}.log"))
    run_jobs(jobs, 2)
    rows = []
    for name, overrides in FORMS.items():
        home = exp / name.replace(" ", "_")
        rates = [rate(home / "kd" / f"seed{seed}" / "model") for seed in range(SEEDS)]
        bits = mass = "–"
        if "book=live" not in overrides:
            about = info(home / "book" / "masked")
            bits, mass = f"{about.bits_per_frame:.0f}", f"{about.retained_mass:.4f}"
        each = ", ".join(f"{x:.2f}" for x in rates)
        rows.append(f"| {name} | {bits} | {mass} | {statistics.mean(rates):.2f} | {each} |")
        print(rows[-1], flush=True)
    return rows


def rate(model: Path) -> float:
    """WER in % over both test sets."""
    data, wrong, words = RECIPE / "data" / "default", 0.0, 0.0
    for name in ("test_clean", "test_noisy"):
        lines = (line.split(maxsplit=1) for line in (data / name / "text").read_text(encoding="utf-8").splitlines())
        references = {line[0]: line[1] if len(line) > 1 else "" for line in lines}
        count = sum(len(text.split()) for text in references.values())
        wrong += count * score(references, decode(model, data, name, 1, 400.0, False)).wer.rate
        words += count
    return 100 * wrong / words


def main() -> None:
    """Measure and write the tables."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--exp", type=Path, default=RECIPE / "exp" / "book_training", help="where the runs go")
    exp = made.parse_args().exp
    if not (RECIPE / "exp" / "default" / "teacher" / "seed0" / "summary.json").is_file():
        sys.exit("there is no teacher yet: run egs/espeak_voices/ctc_kd/run.sh --stop-stage teachers first")
    torch.set_num_threads(1)
    timing = exp / "timing"
    seqkd(["book", "make", *options(timing, "systems=[kd]", "book=dense")])
    first, second = times(timing), errors(exp)
    text = f"""# Learning from a book

Generated by `python -m tests.bench.book_training` on the default preset of egs/espeak_voices: a student of 300 labelled
utterances, 12 classes, a book of 16 masked versions of each utterance.

Seconds of an update, loading of data and book included, one thread: medians of {BLOCKS} interleaved blocks of {UPDATES}
updates. An epoch takes in proportion.

| objective | no teacher, ms | with the book, ms | book / none | live teacher / none |
|---|---:|---:|---:|---:|
{chr(10).join(first)}

KD (KL) from every form of the book, {SEEDS} seeds; WER over both test sets.

| form | bits a frame | retained mass | test WER %, mean | each seed |
|---|---:|---:|---:|---|
{chr(10).join(second)}

{platform.system()} {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}.
"""
    write_text(Path(__file__).with_suffix(".md"), text)


if __name__ == "__main__":
    main()
