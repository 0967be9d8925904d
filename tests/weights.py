"""Train every system of every task for 50 updates on tiny data, and write a hash of the weights.

    python -m tests.weights            compare with tests/weights.json; the exit status says whether all are equal
    python -m tests.weights --write    write it anew: only where a change must change weights, and says which and why

A change of the code that is to leave training as it is must leave these hashes as they are, bit for bit. They are of
the CPU and of the versions in ``local/constraints.txt``; another processor may round otherwise.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from safetensors.numpy import load_file

from seqkd.cli.settings import parse, parser
from seqkd.config import CONF, compose, system_overrides, system_settings
from seqkd.tasks import task_of
from seqkd.training.order import all_runs
from seqkd.training.run import train
from tests import clip_corpus, pairs_corpus, runs
from tests.shots import songs

OUT = Path(__file__).with_suffix(".json")
ROLES = ("teacher", "student")
UPDATES = [f"{role}.training.{s}" for role in ROLES for s in ("updates=50", "validate_every=10")]

# All but those of a Whisper, and csc, which is of a task with a label a frame.
ASR = sorted(
    {path.stem for path in (CONF / "asr" / "system").glob("*.yaml")}
    - {"teacher", "teacher_guided", "transcripts_only", "distil_whisper", "distil_whisper_ce", "csc"}
)
TRANSLATION = """none uniform confidence_penalty adaptive adaptive_uniform adaptive_ema tf_kd_reg tf_kd_self r_drop
word_kd book_kd book_kd_hard book_kd_unadjusted adaptive_capped sequence_kd""".split()  # noqa: SIM905
SHOTS = ["majority", "bigram", "student", "student_kd", "student_kd_printed", "dil", "dil_printed", "teacher_dil"]
SHOTS += ["student_kd_unlabelled", "dil_unlabelled"]
CLASSIFICATION = sorted(path.stem for path in (CONF / "classification" / "system").glob("*.yaml"))


def seqkd(*arguments: str) -> None:
    """Run a command in a process of its own."""
    command = [sys.executable, "-m", "seqkd.cli.main", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def asr(folder: Path) -> None:
    """Beside a live teacher; and from the teacher's book."""
    from tests.tone_corpus import make_tone_set

    data = folder / "data"
    for name, count, seed, labelled in (("train", 24, 1, True), ("extra", 12, 2, False), ("dev", 8, 3, True)):
        make_tone_set(data, name, count, seed=seed, transcripts=labelled)
    common = lambda exp: [*runs.arguments(folder / exp, data, *UPDATES), "--nj", "2"]  # noqa: E731
    live = [*common("live"), f"systems=[{','.join(ASR)}]", "teacher.seeds=2"]
    for exp, more in (
        ("live", live),
        ("book", [*common("book"), "systems=[kd,cons_kd_unlabelled,delayed_kd]", "book=dense", "book.seeds=3"]),
    ):
        seqkd("prepare", *more)
        seqkd("train", "--group", "teachers", *more)
        if exp == "book":
            seqkd("book", "make", *more)
        seqkd("train", "--group", "students", *more)


def translation(folder: Path) -> None:
    """Teachers, their book, and those who learn from it."""
    data = pairs_corpus.make_corpus(folder / "data")
    options = [*pairs_corpus.arguments(folder / "lstm", data, *UPDATES), "--nj", "2"]
    options += ["book.k=8", f"systems=[{','.join(TRANSLATION)}]"]
    seqkd("prepare", *options)
    seqkd("train", "--group", "teachers", *options)
    seqkd("book", "make", *options)
    seqkd("train", "--group", "students", *options)


def shots(folder: Path) -> None:
    """Assistants, teachers, students, and rounds of interaction."""
    data = folder / "data"
    for seed, (name, count) in enumerate({"train": 12, "dev": 4, "test": 4}.items()):
        songs.write_set(data, name, count, 60, seed=seed)
    songs.write_set(data, "more", 12, 60, seed=3, prefix="more")
    options = [*songs.arguments(folder / "dil", data, "training.updates=50", "training.validate_every=10"), "--nj", "2"]
    options += ["unlabelled=[more]"]
    options += [f"systems=[{','.join(SHOTS)}]"]
    for group in ("teachers", "students"):
        seqkd("train", "--group", group, *options)


def classification(folder: Path) -> None:
    """All, in this process: there are so many, and so small."""
    data = clip_corpus.make_corpus(folder / "data")
    options = [*UPDATES, "classes.subset=[low,rising]", f"systems=[{','.join(CLASSIFICATION)}]"]
    args = parse(parser("weights", ""), clip_corpus.arguments(folder / "live", data, *options))
    cfg = compose(args)
    task = task_of(cfg)
    task.prepare(cfg)
    for run in all_runs(task, cfg, partial(system_settings, cfg)):
        train(task, compose(args, *system_overrides(cfg, *run)))


def hashes(folder: Path) -> dict[str, str]:
    """By experiment and run: of every tensor's name, shape and bytes."""
    found = {}
    for model in sorted(folder.glob("*/*/seed*/model")):
        digest = hashlib.sha256()
        for file in sorted(model.rglob("*.safetensors")):
            for name, tensor in sorted(load_file(file).items()):
                digest.update(f"{name} {tensor.shape} {tensor.dtype}".encode() + tensor.tobytes())
        found["/".join(model.relative_to(folder).parts[:-1])] = digest.hexdigest()[:16]
    return found


def main() -> int:
    """Train, hash, and compare or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the hashes instead of comparing them")
    parser.add_argument("--keep", type=Path, help="work in this directory, which is kept")
    parser.add_argument("tasks", nargs="*", help="only these: asr, translation, shots, classification")
    args = parser.parse_args()
    known = json.loads(OUT.read_text(encoding="utf-8")) if OUT.is_file() else {}
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        for task in (asr, translation, shots, classification):
            if args.tasks and task.__name__ not in args.tasks:
                continue
            folder = (args.keep or Path(temporary)) / task.__name__
            task(folder)
            found |= {f"{task.__name__}/{run}": digest for run, digest in hashes(folder).items()}
    if args.write:
        OUT.write_text(json.dumps({**known, **found}, indent=2) + "\n", encoding="utf-8")
        return 0
    expected = {run: digest for run, digest in known.items() if not args.tasks or run.split("/")[0] in args.tasks}
    different = [run for run in sorted({**expected, **found}) if expected.get(run) != found.get(run)]
    for run in different:
        print(f"{run}: {expected.get(run, 'unknown')} expected, {found.get(run, 'not trained')} found")
    print(f"{len(found) - len(different)} of {len(found)} runs have the same weights")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
