"""One process and two (gloo, CPU) see the same global batches: gradients, weights, dev and past self are the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.cases import AGREE, ASR, CLIPS, GROWN, SHOTS, TRANSLATION, Kind, Place

# A phase of the system that the settings name. Of speech and translation, whose processes make batches of their own,
# the batches are those below, shared unevenly; those of songs and clips are the same for any number of processes.
WORKER = textwrap.dedent(
    """
    import json, os, sys
    from pathlib import Path

    import torch
    from safetensors.torch import save_file

    from seqkd.data.batches import _Utterances
    from seqkd.tasks import task_of
    from seqkd.training.module import Distillation
    from seqkd.training.study import Study
    from seqkd.translation.batches import _Pairs
    from tests.training import cases

    kind, arguments, out = getattr(cases, sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3])
    rank = int(os.environ.get("LOCAL_RANK", 0))
    cfg = kind.settings(*map(Path, arguments[:2]), *arguments[2:])
    study = Study(task_of(cfg), cfg)
    if kind is cases.SHOTS:
        from seqkd.shots.model import directory_hash
        from seqkd.shots.targets import read_targets
        from seqkd.tasks.shots.work import ShotData, SongWork

        data, home = ShotData(cfg), Path(cfg.exp) / "teacher" / "seed0"
        soft = read_targets(home / "targets", teacher=directory_hash(home / "model"), songs=data.train)
        work = SongWork(data, data.fresh_model(), soft, seed=0)
    elif kind is cases.CLIPS:
        work = study.task.workload(study)
    else:
        work = study.task.workload(study)
        speech = kind is cases.ASR
        ids = sorted(work.corpus.transcripts if speech else work.corpus.sources)
        size = 12 if speech else 15
        batches = [[ids[(k * size + i) % len(ids)] for i in range(size)] for k in range(work.settings.updates)]
        items = (_Utterances if speech else _Pairs)(work.corpus)

        class Steps(list):
            def __iter__(self):
                return iter(list(enumerate(list.__iter__(self))) if speech else list(list.__iter__(self)))

        def training(start, rank, world):
            share = [(batch[:5], batch[5:])[rank] if world > 1 else batch for batch in batches]
            return torch.utils.data.DataLoader(items, sampler=Steps(share), batch_size=None)

        work.training = training

    kept = {}

    def keep(self, optimizer):
        if self.global_step == 0:
            kept.update({f"gradient.{n}": p.grad.clone() for n, p in self.named_parameters() if p.grad is not None})
        if self.past is not None:
            kept.update({f"past.{n}": v.clone() for n, v in self.past.past.state_dict().items()})

    Distillation.on_before_optimizer_step = keep
    fitted = study.fit(work, phase="phases/only" if kind is cases.SHOTS else "")
    kept |= {f"model.{name}": value for name, value in work.model.state_dict().items()}
    if rank == 0:
        save_file({name: value.contiguous() for name, value in kept.items()}, out)
        rows = [{name: row[name] for name in (work.monitor.key, "step", "lr")} for row in fitted.history]
        out.with_suffix(".json").write_text(json.dumps([rows, fitted.refreshes, fitted.value]))
    if kind is cases.SHOTS:  # every process goes on from the weights that were chosen
        save_file({n: v.contiguous() for n, v in work.model.state_dict().items()}, f"{out}.rank{rank}")
    """
)
STEPS = [f"student.training.{s}" for s in ("updates=6", "validate_every=2", "warmup=1", "lr=0.01")]
QUIET = ["student.model.dropout=0.0", *(f"student.augment.{name}=0" for name in ("freq_masks", "time_masks", "warp"))]
CASES = {
    "ASR": ["system=cons_kd_unlabelled", *STEPS, *QUIET, *GROWN],
    "TRANSLATION": ["system=adaptive", "system.passes=2", *STEPS, QUIET[0], *AGREE],
    "SHOTS": ["system=student_kd", "training.updates=6", "training.validate_every=2", "model.dropout=0"],
    # Batches of 7 clips of different lengths: 4 and 3, whose batch normalisation is that of all.
    "CLIPS": ["system=kd", *STEPS, "student.training.batch=7", "student.model.dropout=0"],
}
KINDS = {"ASR": ASR, "TRANSLATION": TRANSLATION, "SHOTS": SHOTS, "CLIPS": CLIPS}


def outcome(name: str, place: Place, exp: Path, world: int) -> tuple[dict[str, torch.Tensor], list]:
    """Tensors by name, and what the first process knows of dev."""
    script, out = exp.parent / "worker.py", exp.parent / f"run{world}.safetensors"
    script.write_text(WORKER)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    arguments = [str(exp), str(place.data), *CASES[name], f"processes={world}"]
    done = subprocess.run(
        [sys.executable, str(script), name, json.dumps(arguments), str(out)],
        capture_output=True, text=True, env=environment, timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return load_file(out), json.loads(out.with_suffix(".json").read_text())


@pytest.mark.timeout(250)
@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_as_one(name: str, place_of: Callable[[Kind], Place], tmp_path: Path) -> None:
    kind = KINDS[name]
    place, found = place_of(kind), []
    for world in (1, 2):
        exp = place.copy(tmp_path / f"{world}" / "exp")
        kind.prepare(exp, place.data, CASES[name])
        found.append(outcome(name, place, exp, world))
    (one, (rows, refreshes, value)), (two, (other_rows, other_refreshes, other_value)) = found
    assert one.keys() == two.keys()
    for key, mine in one.items():
        scale = float(mine.double().abs().max())
        if key.startswith("gradient."):
            assert scale > 0, f"{key} is 0"
            torch.testing.assert_close(two[key], mine, rtol=1e-4, atol=1e-6 * scale + 1e-7)
            continue
        # Adam makes steps of noise where a gradient is 0 but for rounding, as that of an attention's key biases.
        gradient = one.get(f"gradient.model.{key.partition('.')[2]}")
        moved = torch.ones_like(mine, dtype=torch.bool) if gradient is None else gradient.abs() > 1e-6
        assert moved.any(), key
        torch.testing.assert_close(two[key][moved], mine[moved], rtol=1e-3, atol=1e-4)
    assert len(rows) == len(other_rows) == 3
    for mine, theirs in zip(rows, other_rows, strict=True):
        assert theirs == pytest.approx(mine, rel=1e-4)
    assert other_refreshes == refreshes and bool(refreshes) == (name == "TRANSLATION")
    assert other_value == pytest.approx(value, rel=1e-4)
    assert (name == "TRANSLATION") == any(key.startswith("past.") for key in one)
    assert (name == "ASR") == ("gradient.objective.grown.adaptor.weight" in one)
    if name == "SHOTS":
        ranks = [load_file(tmp_path / "2" / f"run2.safetensors.rank{rank}") for rank in (0, 1)]
        assert all(ranks[0][key].equal(value) for key, value in ranks[1].items())
