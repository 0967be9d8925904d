"""CTC teacher–student training for speech: what the recipes' commands do for ``egs/*/ctc_kd``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seqkd.cli.settings import student_runs
from seqkd.errors import DataError
from seqkd.experiment import scores
from seqkd.layout import run_directory, teacher_runs
from seqkd.tasks.asr_scores import AsrScores


def make_features(cfg: DictConfig) -> None:
    """Validate every set the recipe uses, and make its features."""
    from seqkd.data import features

    sets = [cfg.teacher.train_set, cfg.student.train_set, *cfg.unlabelled, cfg.sets.dev, *cfg.sets.test]
    for name in dict.fromkeys(sets):
        count = features.make_features(Path(cfg.data) / name, features.FeatureSettings(**cfg.features), cfg.nj)
        print(f"{name}: {count} utterances")


def make_tokens(cfg: DictConfig) -> None:
    """Train the tokenizer, or leave it alone if its text and settings are unchanged."""
    from seqkd.data.kaldi import read_data_dir
    from seqkd.data.tokens import Tokenizer, train_tokenizer

    directory, source = Path(cfg.tokens.directory), Path(cfg.data) / cfg.tokens.set
    texts = [u.text for u in read_data_dir(source)]
    if None in texts:
        raise DataError(f"{source} has no transcripts; name a labelled set in tokens.set")
    tokenizer = train_tokenizer(
        texts, type=cfg.tokens.type, vocab_size=cfg.tokens.vocab_size, word_boundary=cfg.tokens.word_boundary
    )
    if not (directory / "tokenizer.json").is_file() or Tokenizer.load(directory).hash != tokenizer.hash:
        tokenizer.save(directory)
    settings = OmegaConf.to_container(cfg.tokens)
    print(f"{len(tokenizer)} {settings['type']} units from {len(texts)} transcripts of {settings['set']}")


def first_teacher(cfg: DictConfig) -> list[tuple[str, int]]:
    """The teacher, trained or imported."""
    return teacher_runs(cfg)[:1] or [("teacher", 0)]


def further_teachers(cfg: DictConfig) -> list[tuple[str, int]]:
    """Those that may be guided by the first."""
    return teacher_runs(cfg)[1:]


def train(cfg: DictConfig) -> None:
    """Train the system and seed of the settings, or take over an imported teacher."""
    if is_imported(cfg, cfg.system.name):
        from seqkd.teachers.importing import import_teacher

        import_teacher(cfg)
        return
    from seqkd.training import run

    run.train(cfg)


def is_imported(cfg: DictConfig, system: str) -> bool:
    """Whether a system is a teacher that was not trained here."""
    return system == "teacher" and bool(cfg.teacher.import_from)


def decode(cfg: DictConfig, system: str, seed: int, name: str) -> None:
    """``decode_<set>/{text,hyp.trn,hyp.jsonl}``."""
    if is_imported(cfg, system):
        from seqkd.teachers.importing import decode_imported

        decode_imported(cfg, name)
        return
    from seqkd.decoding.run import decode_run

    decode_run(cfg, system, seed, name)


PREPARE = {"features": make_features, "tokens": make_tokens}
GROUPS = {"teacher": first_teacher, "further_teachers": further_teachers, "students": student_runs}


def make_book(cfg: DictConfig, systems: Sequence[DictConfig], shard: int, shards: int) -> None:
    """What teachers know of all that their students hear."""
    from seqkd.teachers.making import make

    make(cfg, systems, shard, shards)


def pages_to_make(cfg: DictConfig, systems: Sequence[DictConfig]) -> int:
    """How many pages are still to be written; books of other settings are removed."""
    from seqkd.teachers import making

    return making.pages_to_make(cfg, systems)


def score(cfg: DictConfig, system: str, seed: int, name: str) -> None:
    """``decode_<set>/score.json``, ``counts.npz`` and ``score.html``."""
    scores.score(AsrScores(), cfg, system, seed, name)


def report(cfg: DictConfig, systems: Mapping[str, Mapping[str, Any]], command: str) -> None:
    """RESULTS.md and its figures."""
    from seqkd.experiment.report import write_report

    write_report(AsrScores(), cfg, systems, command)


def check(cfg: DictConfig, chosen: Sequence[str]) -> None:
    """Raise SeqkdError when a system misses a number that its preset promises (report.expect)."""
    from seqkd.experiment import check

    check.check(AsrScores(), cfg, chosen)


def export(cfg: DictConfig) -> None:
    """``export/`` in the run of the settings' system and seed: files to deploy, checked on the test sets."""
    from seqkd.data.tokens import Tokenizer
    from seqkd.deploy.export import TestSets, export_model
    from seqkd.deploy.origin import recipe_origin

    run = run_directory(cfg)
    model, out = run / "model", run / "export"
    if not (model / "model.safetensors").is_file():
        raise DataError(f"{run} has no finished model; run stage {3 if cfg.system.name == 'teacher' else 6} first")
    origin = recipe_origin(cfg, Tokenizer.load(model).hash)
    tests = TestSets(Path(cfg.data), list(cfg.sets.test), cfg.decode.max_duration)
    fresh = export_model(model, out, origin=origin, tests=tests)
    print(f"{out}: {'written' if fresh else 'is up to date'}")
