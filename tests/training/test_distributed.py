"""One process and two (gloo, CPU) see the same global batches: gradients, weights, dev and past self are the same."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seqkd.cli.jobs import forking
from tests.training.cases import AGREE, ASR, CLIPS, GROWN, SHOTS, TRANSLATION, Kind, Place
from tests.training.worker import train_few

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
    out = exp.parent / f"run{world}.safetensors"
    arguments = [str(exp), str(place.data), *CASES[name], f"processes={world}"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"TORCHELASTIC_RUN_ID": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GROUP_RANK": "0"}
    processes = []
    for rank in range(world):
        ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
        environment = {key: str(value) for key, value in (shared | ranks).items()}  # as torchrun has it
        process = forking().Process(target=train_few, args=(name, arguments, out, environment))
        process.start()
        processes.append(process)
    for process in processes:
        process.join(100)
        process.kill()
    assert [process.exitcode for process in processes] == [0] * world
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
