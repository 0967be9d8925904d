"""Speech recognition by CTC, taught frame by frame or by transcripts: ``egs/*/ctc_kd``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from seqkd.errors import ConfigError, DataError
from seqkd.layout import plain, run_directory, teacher_runs, trained_teacher
from seqkd.stages import again
from seqkd.tasks.asr.scores import AsrScores
from seqkd.tasks.asr.settings import VIEWS, training_of
from seqkd.tasks.settings import unlabelled_sets
from seqkd.training.order import teachers_by_name

if TYPE_CHECKING:
    from seqkd.losses import Objective
    from seqkd.task import RunName
    from seqkd.tasks.asr.work import SpeechWork
    from seqkd.training.study import Study


class AsrTask(AsrScores):
    """See `seqkd.task.Task`."""

    def prepare(self, cfg: DictConfig) -> None:
        """Features of every set that is used, and the tokenizer."""
        make_features(cfg)
        make_tokens(cfg)

    def teachers_of(self, cfg: DictConfig, system: DictConfig, seed: int) -> list[RunName]:
        """All trained teachers of the settings, or the imported one; none here if another experiment's teach.

        And the run whose weights this one begins with.
        """
        start = [(system.start, seed)] if system.start else []
        return start + self.teaching(cfg, system, seed)

    def teaching(self, cfg: DictConfig, system: DictConfig, seed: int) -> list[RunName]:
        """Those whose outputs a run is trained on."""
        if system.teacher != "teacher" or system.role == "teacher":
            return teachers_by_name(system, 0 if system.role == "teacher" else seed)
        if cfg.teacher.exp != cfg.exp:
            return []
        return teacher_runs(cfg) or [("teacher", 0)]

    def check_teachers(self, cfg: DictConfig) -> str:
        """WER on dev, blanks, entropy, spike offsets."""
        from seqkd.teachers.check import check_teacher

        return check_teacher(cfg)

    def make_book(self, cfg: DictConfig, systems: Sequence[DictConfig], shard: int, shards: int) -> None:
        """What teachers give to the audio of their students, frame by frame or as transcripts."""
        from seqkd.teachers.making import make

        make(cfg, systems, shard, shards)

    def entries_to_make(self, cfg: DictConfig, systems: Sequence[DictConfig]) -> int:
        """How many entries are still to be written; books of other settings are removed."""
        from seqkd.teachers.making import entries_to_make

        return entries_to_make(cfg, systems)

    def describe(self, cfg: DictConfig, objective: Objective) -> dict[str, Any]:
        """Model, training, audio, units and teachers."""
        from seqkd.data.features import finished_features
        from seqkd.data.tokens import Tokenizer

        system, role = cfg.system, cfg[cfg.system.role]
        names = [role.train_set, *unlabelled_sets(cfg), cfg.sets.dev]
        features = {name: finished_features(Path(cfg.data) / name) for name in names}
        for name, made in features.items():
            if made["settings"] != plain(cfg.features):
                raise DataError(
                    f"{Path(cfg.data) / name} has features made with {made['settings']}, but features= is "
                    f"{plain(cfg.features)}; {again('prepare')}"
                )
        return {
            "views": {key: system[key] for key in VIEWS},
            "model": plain(role.model),
            "training": training_of(cfg, system.role),
            "augment": plain(role.augment),
            "features": plain(cfg.features),
            "tokenizer": Tokenizer.load(Path(cfg.tokens.directory)).hash,
            **learned_from(cfg, objective),
            **begun_with(cfg),
            **({} if system.references else {"references": False}),
            **({"whisper": plain(system.whisper)} if "whisper" in system else {}),
            "data": {name: made["data"] for name, made in features.items()},
        }

    def workload(self, study: Study) -> SpeechWork:
        """Utterances, the model and its teachers."""
        from seqkd.tasks.asr.work import SpeechWork

        return SpeechWork(study, start_of(study.cfg) if study.cfg.system.start else None)

    def decode(self, cfg: DictConfig, run: Path, name: str) -> None:
        """``decode_<set>/{text,hyp.trn,hyp.jsonl}``."""
        if is_imported(cfg, run.parent.name):
            from seqkd.teachers.importing import decode_imported

            decode_imported(cfg, name)
            return
        from seqkd.tasks.asr import distil_whisper

        if distil_whisper.is_whisper(run):
            distil_whisper.decode(cfg, run, name)
            return
        from seqkd.decoding.latency import align_references, decode_latencies
        from seqkd.decoding.run import decode_run

        decode_run(cfg, run, name)
        if run.parent.name == self.teacher:
            align_references(cfg, run, name)
        decode_latencies(cfg, run, name)

    def export(self, cfg: DictConfig, systems: Sequence[DictConfig]) -> None:
        """``export/`` in the first seed's run of every system: files to deploy, checked on the test sets."""
        from seqkd.tasks.asr import distil_whisper

        for one in systems:
            if distil_whisper.is_whisper(run_directory(one)):
                print(f"{run_directory(one) / 'model'}: a model of transformers, as it is")
            else:
                export_run(one)


def export_run(cfg: DictConfig) -> None:
    """``export/`` in the run of the settings' system and seed."""
    from seqkd.data.tokens import Tokenizer
    from seqkd.decoding.blank_penalty import penalty_of
    from seqkd.deploy.export import TestSets, export_model
    from seqkd.deploy.origin import recipe_origin

    run = run_directory(cfg)
    model, out = run / "model", run / "export"
    if not (model / "model.safetensors").is_file():
        stage = "teachers" if cfg.system.name == "teacher" else "students"
        raise DataError(f"{run} has no finished model; {again(stage)}")
    origin = recipe_origin(cfg, Tokenizer.load(model).hash)
    tests = TestSets(Path(cfg.data), list(cfg.sets.test), cfg.decode.max_duration)
    penalty = penalty_of(cfg, run)  # without a language model, as transcribing is
    fresh = export_model(model, out, origin=origin, tests=tests, blank_penalty=penalty)
    print(f"{out}: {'written' if fresh else 'is up to date'}")


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
    from seqkd.data.tokens import train_tokenizer

    directory, source = Path(cfg.tokens.directory), Path(cfg.data) / cfg.tokens.set
    texts = [u.text for u in read_data_dir(source)]
    if None in texts:
        raise DataError(f"{source} has no transcripts; name a labelled set in tokens.set")
    tokenizer = train_tokenizer(
        texts, type=cfg.tokens.type, vocab_size=cfg.tokens.vocab_size, word_boundary=cfg.tokens.word_boundary
    )
    if not tokenizer.is_in(directory):
        tokenizer.save(directory)
    settings = OmegaConf.to_container(cfg.tokens)
    print(f"{len(tokenizer)} {settings['type']} units from {len(texts)} transcripts of {settings['set']}")


def teacher(study: Study) -> None:
    """The procedure of teachers: trained, or taken over from ``teacher.import_from``."""
    if is_imported(study.cfg, study.cfg.system.name):
        from seqkd.teachers.importing import import_teacher

        import_teacher(study.cfg)
        return
    from seqkd.training.study import train_once

    train_once(study)


def is_imported(cfg: DictConfig, system: str) -> bool:
    """Whether a system is a teacher that was not trained here."""
    return system == "teacher" and bool(cfg.teacher.import_from)


def begun_with(cfg: DictConfig) -> dict[str, Any]:
    """Of a run's description: the weights it begins with, if another run's."""
    from seqkd.models.storage import model_hash

    return {"start": model_hash(start_of(cfg))} if cfg.system.start else {}


def start_of(cfg: DictConfig) -> Path:
    """The model directory that a run begins with. ConfigError where it is not trained yet, or not well enough."""
    run, most = run_directory(cfg, cfg.system.start, cfg.seed), cfg.system.start_within
    if not (run / "model" / "model.safetensors").is_file():
        missing = run / "model"
        raise ConfigError(f"system {cfg.system.name} begins with {missing}, which is not there; {again('teachers')}")
    if most is not None and (reached := training_wer(cfg, run)) > most:
        raise ConfigError(
            f"system {cfg.system.name} is to begin with {run}, which has {reached:.1%} WER on what it was trained on; "
            f"start_within is {most:.1%}: train it longer, or choose another seed"
        )
    return run / "model"


def training_wer(cfg: DictConfig, run: Path) -> float:
    """The WER, a share, of a student's run on the student's training set, which is decoded once."""
    from seqkd.decoding.run import decode_run
    from seqkd.scoring.formats.text import read_text
    from seqkd.scoring.wer import score

    name = cfg.student.train_set
    decode_run(cfg, run, name)
    reference, hypothesis = (read_text(place / "text") for place in (Path(cfg.data) / name, run / f"decode_{name}"))
    return score(reference, hypothesis).wer.rate


def learned_from(cfg: DictConfig, objective: Objective) -> dict[str, Any]:
    """Of a run's description: whose outputs it is trained on, and in what form."""
    from seqkd.models.storage import model_hash
    from seqkd.teachers.ctc_book import book_id, reads
    from seqkd.teachers.own import teacher_ids
    from seqkd.teachers.transcript_targets import learns_sequences, transcripts_id

    if "whisper" in cfg.system:
        return transcripts_id(cfg)
    if "teacher" not in objective.sources():
        return {"teacher": None}
    if cfg.system.role == "teacher":  # one of several, guided by the first
        return {"teacher": model_hash(trained_teacher(cfg))}
    if reads(cfg, objective):
        return transcripts_id(cfg) if learns_sequences(cfg) else book_id(cfg)
    teachers = teacher_ids(cfg, {})
    return {"teacher": teachers[0].hash if len(teachers) == 1 else {one.hash: one.weight for one in teachers}}


TASK = AsrTask()
