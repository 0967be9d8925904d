"""One of the processes of a run, as a function: gradients, weights, dev and past self of a few updates, into a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from seqkd.data.batches import _Utterances
from seqkd.processes import rank
from seqkd.tasks import task_of
from seqkd.training.module import Distillation
from seqkd.training.study import Study
from seqkd.training.workload import Workload
from seqkd.translation.batches import _Pairs
from tests.training import cases


def train_few(name: str, arguments: list[str], out: Path, environment: Mapping[str, str]) -> None:
    """Train a phase of the system that ``arguments`` name, of a kind of `cases`; each process calls this.

    Of speech and translation, whose processes make batches of their own, the batches are shared unevenly; those of
    songs and clips are the same for any number of processes.
    """
    os.environ.update(environment)
    torch.set_num_threads(1)
    cfg = getattr(cases, name).settings(*map(Path, arguments[:2]), *arguments[2:])
    study = Study(task_of(cfg), cfg)
    work: Any = songs_work(study) if name == "SHOTS" else study.task.workload(study)
    if name in ("ASR", "TRANSLATION"):
        share_unevenly(work, speech=name == "ASR")
    kept: dict[str, torch.Tensor] = {}

    def keep(self: Distillation, optimizer: torch.optim.Optimizer) -> None:
        if self.global_step == 0:
            kept.update({f"gradient.{n}": p.grad.clone() for n, p in self.named_parameters() if p.grad is not None})
        if self.past is not None:
            kept.update({f"past.{n}": v.clone() for n, v in self.past.past.state_dict().items()})

    Distillation.on_before_optimizer_step = keep
    fitted = study.fit(work, phase="phases/only" if name == "SHOTS" else "")
    kept |= {f"model.{name}": value for name, value in work.model.state_dict().items()}
    if rank() == 0:
        save_file({name: value.contiguous() for name, value in kept.items()}, out)
        rows = [{name: row[name] for name in (work.monitor.key, "step", "lr")} for row in fitted.history]
        out.with_suffix(".json").write_text(json.dumps([rows, fitted.refreshes, fitted.value]))
    if name == "SHOTS":  # every process goes on from the weights that were chosen
        save_file({n: v.contiguous() for n, v in work.model.state_dict().items()}, f"{out}.rank{rank()}")


def songs_work(study: Study) -> Workload:
    """A student of the finished teacher."""
    from seqkd.shots.model import directory_hash
    from seqkd.shots.targets import read_targets
    from seqkd.tasks.shots.work import ShotData, SongWork

    data, home = ShotData(study.cfg), Path(study.cfg.exp) / "teacher" / "seed0"
    soft = read_targets(home / "targets", teacher=directory_hash(home / "model"), songs=data.train)
    return SongWork(data, data.train, data.fresh_model(data.train), soft, seed=0)


def share_unevenly(work: Any, *, speech: bool) -> None:
    """Give the first of two processes five items of each batch, and the second the others."""
    ids = sorted(work.corpus.transcripts if speech else work.corpus.sources)
    size = 12 if speech else 15
    batches = [[ids[(k * size + i) % len(ids)] for i in range(size)] for k in range(work.settings.updates)]
    items = (_Utterances if speech else _Pairs)(work.corpus)

    class Steps(list):
        def __iter__(self) -> Iterator:
            return iter(list(enumerate(list.__iter__(self))) if speech else list(list.__iter__(self)))

    def training(start: int, rank: int, world: int) -> DataLoader:
        share = [(batch[:5], batch[5:])[rank] if world > 1 else batch for batch in batches]
        return DataLoader(items, sampler=Steps(share), batch_size=None)

    work.training = training
