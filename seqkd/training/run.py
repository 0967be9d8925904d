"""One training run: a system and a seed, from settings to a model directory. Resumes where it was stopped.

``exp/<system>/seed<k>/`` receives ``config.yaml`` (all that decides the result), ``checkpoints/``, ``history.json``,
``dropped.txt``, ``model/`` and, last, ``summary.json``: a run with a summary is done.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from seqkd.data.batches import Corpus, StepSampler, evaluation_batches, load_corpus, training_batches
from seqkd.data.features import FeatureSettings, finished_features
from seqkd.data.specaugment import SpecAugment
from seqkd.data.tokens import Tokenizer
from seqkd.errors import ConfigError, DataError, SeqkdError
from seqkd.files import lock, write_json, write_text
from seqkd.layout import run_directory, teacher_directory
from seqkd.models.ctc import CtcModel, model_hash, save_model
from seqkd.teachers import CheckpointTeacher, check_compatible
from seqkd.training.checkpoints import ResumePoint, average_weights, newest_resume_point
from seqkd.training.module import CtcDistillation
from seqkd.training.objective import Objective

log = logging.getLogger("seqkd")


def train(cfg: DictConfig) -> Path:
    """Train ``cfg.system`` with ``cfg.seed``; return the run's directory. A finished, unchanged run is left alone."""
    directory = run_directory(cfg)
    tokenizer = Tokenizer.load(Path(cfg.tokens.directory))
    objective = Objective(**cfg.system.objective)
    description = describe(cfg, tokenizer, objective)
    if is_done(directory, description):
        log.info("%s is done", directory)
        return directory
    role = cfg[cfg.system.role]
    settings = OmegaConf.to_container(role.training, resolve=True)
    unlabelled = list(cfg.unlabelled) if cfg.system.use_unlabelled else []
    corpus = load_corpus(Path(cfg.data), [role.train_set], tokenizer, unlabelled)
    dev = load_corpus(Path(cfg.data), [cfg.sets.dev], tokenizer)

    torch.set_num_threads(settings["threads"])
    torch.manual_seed(cfg.seed)
    model = CtcModel(OmegaConf.to_container(role.model, resolve=True), FeatureSettings(**cfg.features), len(tokenizer))
    mean, scale = corpus.store.normalisation()
    model.feature_mean.copy_(mean)
    model.feature_scale.copy_(scale)
    module = CtcDistillation(
        model,
        objective,
        tokenizer,
        SpecAugment(**role.augment),
        settings,
        seed=cfg.seed,
        teacher=load_teacher(cfg, model, tokenizer) if objective.needs_teacher else None,
        dev=dev,
    )
    with contextlib.ExitStack() as held:
        if "LOCAL_RANK" not in os.environ:  # the other processes of a distributed run share the first one's lock
            held.enter_context(lock(directory.parent / f".{directory.name}.lock", str(directory)))
        prepare_directory(directory, description)  # not before: a mistake in the settings must not cost an older run
        report_dropped(directory, corpus)
        trainer, best = fit(cfg, module, corpus, dev, directory, settings)
        if trainer.is_global_zero:
            chosen = choose_weights(module, best, dev)
            save_model(directory / "model", model, tokenizer)
            write_json(directory / "history.json", {"rows": module.history})
            write_json(directory / "summary.json", summary(cfg, module, corpus, objective, settings, chosen))
            if (directory / "checkpoints").is_dir():
                shutil.rmtree(directory / "checkpoints")
    return directory


def describe(cfg: DictConfig, tokenizer: Tokenizer, objective: Objective) -> dict[str, Any]:
    """Everything that decides a run's result: if any of it changes, the run is trained anew."""
    role = cfg[cfg.system.role]
    names = [role.train_set, *(cfg.unlabelled if cfg.system.use_unlabelled else []), cfg.sets.dev]
    plain = lambda node: OmegaConf.to_container(node, resolve=True)  # noqa: E731
    features = {name: finished_features(Path(cfg.data) / name) for name in names}
    for name, made in features.items():
        if made["settings"] != plain(cfg.features):
            raise DataError(
                f"{Path(cfg.data) / name} has features made with {made['settings']}, but features= is "
                f"{plain(cfg.features)}; run stage 1 again"
            )
    return {
        "system": cfg.system.name,
        "objective": objective.chosen(),
        "seed": cfg.seed,
        "model": plain(role.model),
        "training": plain(role.training),
        "augment": plain(role.augment),
        "features": plain(cfg.features),
        "tokenizer": tokenizer.hash,
        "teacher": model_hash(finished_teacher(cfg)) if objective.needs_teacher else None,
        "data": {name: made["data"] for name, made in features.items()},
    }


def is_ours(directory: Path, description: dict[str, Any]) -> bool:
    """Whether what the directory holds was made with the same settings and data."""
    config = directory / "config.yaml"
    return config.is_file() and yaml.safe_load(config.read_text(encoding="utf-8")) == description


def is_done(directory: Path, description: dict[str, Any]) -> bool:
    """Whether this very run is finished."""
    return (directory / "summary.json").is_file() and is_ours(directory, description)


def prepare_directory(directory: Path, description: dict[str, Any]) -> None:
    """Write ``config.yaml``; clear what another configuration left."""
    if is_ours(directory, description):
        return
    if directory.exists():
        log.info("%s was made with other settings or data: training anew", directory)
        shutil.rmtree(directory)
    write_text(directory / "config.yaml", yaml.safe_dump(description, sort_keys=False))


def report_dropped(directory: Path, corpus: Corpus) -> None:
    """Say how many utterances cannot be aligned to their frames, and list them."""
    if corpus.dropped:
        write_text(directory / "dropped.txt", "".join(f"{u} {why}\n" for u, why in sorted(corpus.dropped.items())))
        log.warning(
            "%d of %d utterances dropped because their transcript does not fit their frames: see %s",
            len(corpus.dropped),
            len(corpus) + len(corpus.dropped),
            directory / "dropped.txt",
        )


def finished_teacher(cfg: DictConfig) -> Path:
    """``teacher_directory``, or ConfigError if there is no teacher in it."""
    directory = teacher_directory(cfg)
    if not (directory / "model.safetensors").is_file():
        raise ConfigError(f"{directory}: no teacher here; run stage 3 first, or name one by teacher.import_from=DIR")
    return directory


def load_teacher(cfg: DictConfig, student: CtcModel, tokenizer: Tokenizer) -> CheckpointTeacher:
    """Load the teacher and check that student and teacher speak of the same units and frames."""
    teacher = CheckpointTeacher.from_directory(finished_teacher(cfg))
    check_compatible(
        teacher,
        classes=student.classes,
        frame_shift_ms=student.frame_shift_ms,
        tokenizer_hash=tokenizer.hash,
        features=student.features,
    )
    return teacher


def fit(
    cfg: DictConfig, module: CtcDistillation, corpus: Corpus, dev: Corpus, directory: Path, settings: dict[str, Any]
) -> tuple[lightning.Trainer, ModelCheckpoint]:
    """Run the Trainer from the newest resume point, if there is one."""
    checkpoints = directory / "checkpoints"
    resume = newest_resume_point(checkpoints)
    start = int(resume.stem.split("=")[1]) if resume else 0
    if resume:
        log.info("%s: resuming at update %d", directory, start)
    best = ModelCheckpoint(
        checkpoints,
        filename="best-{step}",
        monitor="dev_wer",
        save_top_k=settings["average"],
        save_weights_only=True,
    )
    quiet_lightning()
    devices = max(1, cfg.ngpu)
    trainer = lightning.Trainer(
        accelerator="gpu" if cfg.ngpu else "cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        precision=settings["precision"],
        max_steps=settings["updates"],
        val_check_interval=min(settings["validate_every"], settings["updates"]),
        check_val_every_n_epoch=None,
        gradient_clip_val=settings["gradient_clip"],
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        logger=TensorBoardLogger(directory, name=None, version="tensorboard"),
        callbacks=[best, ResumePoint(checkpoints), *progress(directory)],
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        log_every_n_steps=settings["validate_every"],
    )
    sampler = StepSampler(
        corpus,
        updates=settings["updates"],
        max_duration=settings["max_duration"] / devices,
        seed=cfg.seed,
        start=start,
        rank=trainer.global_rank,
        world=trainer.world_size,
    )
    try:
        trainer.fit(
            module,
            training_batches(corpus, sampler, settings["workers"]),
            evaluation_batches(dev, cfg.decode.max_duration, trainer.global_rank, trainer.world_size),
            ckpt_path=resume,
            weights_only=True,
        )
    except SystemExit as stop:  # what Lightning makes of Ctrl-C
        raise SeqkdError(
            f"{directory} was interrupted at update {module.global_step}; run it again to carry on"
        ) from stop
    return trainer, best


def choose_weights(module: CtcDistillation, best: ModelCheckpoint, dev: Corpus) -> dict[str, Any]:
    """Load into the model the average of the best checkpoints, or the best one if that is better on dev."""
    model, device = module.model, module.device
    candidates = {"best": [best.best_model_path], "average": sorted(best.best_k_models)}
    wers = {}
    for name, paths in candidates.items():
        model.load_state_dict(average_weights(paths, prefix="model."))
        wers[name] = corpus_wer(module, dev)
    chosen = min(candidates, key=lambda name: (wers[name], name))
    model.load_state_dict(average_weights(candidates[chosen], prefix="model."))
    model.to(device)
    return {"weights": chosen, "best_dev_wer": wers[chosen], "dev_wer": wers}


@torch.no_grad()
def corpus_wer(module: CtcDistillation, corpus: Corpus) -> float:
    """Greedy WER of the module's model on a corpus."""
    module.eval()
    module.on_validation_epoch_start()
    for batch in evaluation_batches(corpus, 400.0):
        batch.features = batch.features.to(module.device)
        batch.feature_lengths = batch.feature_lengths.to(module.device)
        module.validation_step(batch, 0)
    return module.errors / module.words


def summary(
    cfg: DictConfig,
    module: CtcDistillation,
    corpus: Corpus,
    objective: Objective,
    settings: dict[str, Any],
    chosen: dict[str, Any],
) -> dict[str, Any]:
    """Collect what the report says of a run."""
    gpu = torch.cuda.get_device_name() if cfg.ngpu else None
    return {
        "system": cfg.system.name,
        "seed": cfg.seed,
        "parameters": module.model.parameter_count(),
        "steps": settings["updates"],
        "passes": objective.passes,
        "train_seconds": round(module.seconds, 1),
        "device": f"{cfg.ngpu} × {gpu}" if gpu else f"{settings['threads']} CPU thread(s)",
        "labelled_hours": round(corpus.hours(labelled=True), 3),
        "unlabelled_hours": round(corpus.hours(labelled=False), 3),
        "dropped": len(corpus.dropped),
        "teacher_off_by_one": module.off_by_one,
        **chosen,
    }


def progress(directory: Path) -> list[Callback]:
    """On a terminal Lightning shows its bar; elsewhere a line a minute serves log files better."""
    return [] if sys.stderr.isatty() else [ProgressLines(directory)]


class ProgressLines(Callback):
    """One line a minute with the estimate of what is left: for log files and background runs."""

    def __init__(self, directory: Path, every: float = 60.0) -> None:
        self.name, self.every = f"{directory.parent.name}/{directory.name}", every
        self.began = self.last = time.monotonic()
        self.first_step: int | None = None

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Print when it is time."""
        step, now = trainer.global_step, time.monotonic()
        if self.first_step is None:
            self.first_step, self.began = step, now
        if now - self.last < self.every:
            return
        self.last = now
        left = (trainer.max_steps - step) * (now - self.began) / max(1, step - self.first_step)
        wer = trainer.callback_metrics.get("dev_wer")
        shown = f", dev WER {100 * float(wer):.2f} %" if wer is not None else ""
        print(f"{self.name}: update {step}/{trainer.max_steps}{shown}, {left / 60:.1f} min left", flush=True)


def quiet_lightning() -> None:
    """Advice of Lightning and lhotse to programmers does not concern our users."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",
        ".*`training_step` returned.*",
        ".*treespec.*",
        ".*LeafSpec.*",
        ".*eagerly read CutSet.*",
        ".*dataloader is not resumable.*",
    ):
        warnings.filterwarnings("ignore", text)
    warnings.filterwarnings("ignore", ".*Checkpoint directory.*")
