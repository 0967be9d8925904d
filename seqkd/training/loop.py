"""A run of the Trainer: where it resumes, what stops it, which weights it keeps."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig

from seqkd.errors import SeqkdError
from seqkd.processes import check_place, needs_of, place
from seqkd.progress import ProgressBar
from seqkd.training.checkpoints import ResumePoint, average_weights, newest_resume_point
from seqkd.training.module import Distillation, fit_to
from seqkd.training.settings import LAST, TrainingSettings
from seqkd.training.workload import Monitor

log = logging.getLogger("seqkd")


def fit(
    cfg: DictConfig, module: Distillation, directory: Path, callbacks: Sequence[Callback] = ()
) -> tuple[lightning.Trainer, ModelCheckpoint]:
    """Run the Trainer from the newest resume point of ``directory``, if there is one.

    Raises ConfigError when torchrun or srun started other processes than the settings say.
    """
    settings, work = module.settings, module.work
    checkpoints = directory / "checkpoints"
    needs = needs_of(cfg)
    check_place(needs)
    best = ModelCheckpoint(
        checkpoints,
        filename="best-{step}",
        monitor=work.monitor.key,
        save_top_k=settings.average,
        save_weights_only=True,
    )
    further = [best_by(checkpoints, name) for name in settings.keep if name != LAST]
    quiet_lightning()
    trainer = lightning.Trainer(
        accelerator="gpu" if cfg.ngpu else "cpu",
        devices=needs.per_node,
        num_nodes=needs.nodes,
        strategy=strategy(module, needs.world),
        plugins=[environment()],
        precision=settings.precision,
        max_steps=settings.last_update,
        val_check_interval=min(settings.validate_every, settings.last_update),
        check_val_every_n_epoch=None,
        gradient_clip_val=settings.gradient_clip,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        logger=TensorBoardLogger(directory, name=None, version="tensorboard"),
        callbacks=[
            *callbacks,
            best,
            *further,
            ResumePoint(checkpoints),
            UpdatesShown(shown_name(directory, Path(cfg.exp)), work.monitor),
        ],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=settings.validate_every,
    )
    rank, world = trainer.global_rank, trainer.world_size
    resume = agreed_resume_point(trainer, checkpoints)
    start = int(resume.stem.split("=")[1]) if resume else 0
    if resume:
        log.info("%s: resuming at update %d", directory, start)
    try:
        trainer.fit(
            module, work.training(start, rank, world), work.dev(rank, world), ckpt_path=resume, weights_only=True
        )
    except SystemExit as stop:  # what Lightning makes of Ctrl-C
        raise SeqkdError(
            f"{directory} was interrupted at update {module.global_step}; run it again to carry on"
        ) from stop
    if trainer.is_global_zero:
        keep(module, directory / "kept", further)
    return trainer, best


def best_by(checkpoints: Path, measure: str) -> ModelCheckpoint:
    """Keeps the weights that are best by a measure of dev of which more is better."""
    return ModelCheckpoint(
        checkpoints, filename=f"{measure}-{{step}}", monitor=measure, mode="max", save_top_k=1, save_weights_only=True
    )


def keep(module: Distillation, directory: Path, further: Sequence[ModelCheckpoint]) -> None:
    """Write the model directories that ``training.keep`` asks for. Which weights the network has then, is left open:
    `choose_weights` comes next.
    """
    if LAST in module.settings.keep:
        module.work.save(directory / LAST)
    for one in further:
        load(module.model, [one.best_model_path])
        module.work.save(directory / str(one.monitor))


def strategy(module: Distillation, world: int) -> str:
    """How processes share the work. A term whose weight is 0 for a while leaves its own parameters without a
    gradient.
    """
    if world == 1:
        return "auto"
    return "ddp_find_unused_parameters_true" if any(True for _ in module.objective.parameters()) else "ddp"


def environment() -> ClusterEnvironment:
    """Who has started the processes. Not left to Lightning, which takes every sbatch script for a call of srun."""
    here = place()
    if here is None:
        return LightningEnvironment()
    # Requeueing is local/slurm/job.sh's business: Lightning would resume from a checkpoint of its own.
    return TorchElasticEnvironment() if here.starter == "torchrun" else SLURMEnvironment(auto_requeue=False)


def agreed_resume_point(trainer: lightning.Trainer, checkpoints: Path) -> Path | None:
    """The newest resume point, chosen by the first process: others may see a shared disk as it was, or damage it."""
    if place() is None or trainer.world_size == 1:
        return newest_resume_point(checkpoints)
    trainer.strategy.setup_environment()  # now, as the processes are there; Lightning's own call then finds it done
    resume = newest_resume_point(checkpoints) if trainer.is_global_zero else None
    return trainer.strategy.broadcast(resume)


def choose_weights(module: Distillation, best: ModelCheckpoint) -> tuple[str, dict[str, float]]:
    """Load into the model the average of the best checkpoints, or the best one if that is better on dev.

    Returns which it is, and what was measured of either.
    """
    model, device = module.model, module.device
    candidates = {"best": [best.best_model_path]}
    if module.settings.average > 1:
        candidates["average"] = sorted(best.best_k_models)
    measured = {}
    for name, paths in candidates.items():
        load(model, paths)
        measured[name] = module.measure(module.work.dev(0, 1))
    chosen = min(candidates, key=lambda name: (measured[name], name))
    load(model, candidates[chosen])
    model.to(device)
    return chosen, measured


def load(model: torch.nn.Module, paths: list[str]) -> None:
    """Load the average of checkpoints."""
    state = average_weights(paths, prefix="model.")
    fit_to(model, state)
    model.load_state_dict(state)


def device_name(cfg: DictConfig, settings: TrainingSettings) -> str:
    """What a run was trained on."""
    needs = needs_of(cfg)
    if cfg.ngpu:
        return f"{needs.world} × {torch.cuda.get_device_name()}"
    threads = f"{settings.threads} CPU thread(s)"
    return threads if needs.world == 1 else f"{needs.world} processes of {threads}"


def shown_name(directory: Path, exp: Path) -> str:
    """A run's directory as a progress bar shows it: without the experiment's, if it is below that."""
    return str(directory.relative_to(exp)) if directory.is_relative_to(exp) else str(directory)


class UpdatesShown(Callback):
    """How far a run is, with the estimate of what is left and the last look at dev; Lightning's bar has neither."""

    def __init__(self, name: str, monitor: Monitor) -> None:
        self.name, self.monitor = name, monitor
        self.bar: ProgressBar | None = None

    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Begin at the update at which the run resumes."""
        if trainer.is_global_zero:
            self.bar = ProgressBar(total=trainer.max_steps, initial=trainer.global_step, desc=self.name, unit="update")

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Show another update."""
        if self.bar is None:
            return
        measured = trainer.callback_metrics.get(self.monitor.key)
        if measured is not None:
            self.bar.set_postfix_str(self.monitor.with_unit(float(measured)), refresh=False)
        self.bar.update(trainer.global_step - self.bar.n)

    def teardown(self, *_: Any, **__: Any) -> None:
        """End the bar, also after a failure."""
        if self.bar is not None:
            self.bar.close()


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
