"""CTC teacher–student training for speech: what the recipes' commands do for ``egs/*/ctc_kd``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seqkd.config import student_runs
from seqkd.errors import ConfigError, DataError, SeqkdError
from seqkd.layout import run_directory, teacher_runs
from seqkd.stages import again


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


def check_teachers(cfg: DictConfig) -> str:
    """What the teacher does on dev, and what is worth a second look."""
    from seqkd.teachers.check import check_teacher

    return check_teacher(cfg)


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


EXPORT_EACH = True  # each system is exported by itself
PREPARE = {"features": make_features, "tokens": make_tokens}
GROUPS = {"teachers": (first_teacher, further_teachers), "students": (student_runs,)}


def make_book(cfg: DictConfig, systems: Sequence[DictConfig], shard: int, shards: int) -> None:
    """What teachers know of all that their students hear."""
    from seqkd.teachers.making import make

    make(cfg, systems, shard, shards)


def pages_to_make(cfg: DictConfig, systems: Sequence[DictConfig]) -> int:
    """How many pages are still to be written; books of other settings are removed."""
    from seqkd.teachers import making

    return making.pages_to_make(cfg, systems)


def score(cfg: DictConfig, system: str, seed: int, name: str) -> None:
    """``decode_<set>/score.json`` and ``score.html``."""
    from seqkd.scoring.evaluate import Options, score_files

    decoded, data = run_directory(cfg, system, seed) / f"decode_{name}", Path(cfg.data) / name
    text, reference = decoded / "text", data / "text"
    if not text.is_file():
        raise ConfigError(f"{decoded} has no text; {again('decode')}")
    if not reference.is_file():
        raise ConfigError(f"{reference} is missing: a test set needs transcripts; name another set in sets.test")
    outputs = decoded / "score.json", decoded / "score.html"
    newest = max(text.stat().st_mtime, reference.stat().st_mtime)
    if all(result.is_file() and result.stat().st_mtime > newest for result in outputs):
        return
    surer = decoded / "hyp.jsonl"  # the same words, with confidences
    hypotheses = surer if surer.is_file() and surer.stat().st_mtime >= text.stat().st_mtime else text
    speakers = data / "utt2spk"
    options = Options(utt2spk=speakers if speakers.is_file() else None)
    print(f"{name}\n{score_files(reference, {f'{system} seed {seed}': hypotheses}, *outputs, options=options)}")


def report(cfg: DictConfig, systems: Mapping[str, Mapping[str, Any]], command: str) -> None:
    """RESULTS.md and its figures."""
    from seqkd.experiment.report import write_report

    write_report(
        Path(cfg.exp),
        Path(cfg.data),
        Path(cfg.report.out),
        test_sets=list(cfg.sets.test),
        systems=systems,
        title=cfg.title,
        command=command,
        notes=list(cfg.report.notes),
        paired_replicates=cfg.report.replicates,
    )


def check(cfg: DictConfig) -> None:
    """Raise SeqkdError when a system misses the error rate its preset says it must reach (report.expect)."""
    metric = cfg.report.expect_metric
    if metric not in ("wer", "cer"):
        raise ConfigError(f"report.expect_metric is {metric!r}; expected one of wer, cer")
    for system, limit in cfg.report.expect.items():
        for name in cfg.sets.test:
            path = run_directory(cfg, system, 0) / f"decode_{name}" / "score.json"
            if not path.is_file():
                raise SeqkdError(f"{path} is missing; {again('score')}")
            (scored,) = json.loads(path.read_text(encoding="utf-8"))["systems"].values()
            rate = 100 * scored[metric]["rate"]
            found = f"{rate:.2f} % {metric.upper()}"
            if rate > limit:
                raise SeqkdError(f"{system} has {found} on {name}; this preset must reach {limit:g} %")
            print(f"{system} on {name}: {found}, must be at most {limit:g} %: reached")


def export(cfg: DictConfig) -> None:
    """``export/`` in the run of the settings' system and seed: files to deploy, checked on the test sets."""
    from seqkd.data.tokens import Tokenizer
    from seqkd.deploy.export import TestSets, export_model
    from seqkd.deploy.origin import recipe_origin

    run = run_directory(cfg)
    model, out = run / "model", run / "export"
    if not (model / "model.safetensors").is_file():
        raise DataError(
            f"{run} has no finished model; {again('teachers' if cfg.system.name == 'teacher' else 'students')}"
        )
    origin = recipe_origin(cfg, Tokenizer.load(model).hash)
    tests = TestSets(Path(cfg.data), list(cfg.sets.test), cfg.decode.max_duration)
    fresh = export_model(model, out, origin=origin, tests=tests)
    print(f"{out}: {'written' if fresh else 'is up to date'}")
