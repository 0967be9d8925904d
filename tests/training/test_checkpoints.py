"""Resume points: which is taken, what becomes of a damaged one, and what is done where the disk does not answer."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from seqkd.errors import DataError
from seqkd.training import checkpoints
from seqkd.training.checkpoints import newest_resume_point, resume_points


@pytest.fixture
def points(tmp_path: Path) -> list[Path]:
    """Two resume points."""
    network = torch.nn.Linear(30, 30)
    for step in (10, 20):
        torch.save({"state_dict": network.state_dict(), "step": step}, tmp_path / f"resume-step={step}.ckpt")
    return resume_points(tmp_path)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "no archive": lambda content: b"x" * len(content),
    "zeros": lambda content: bytes(len(content)),
    **{f"cut at {share:g}": lambda content, s=share: content[: int(s * len(content))] for share in (0.2, 0.5, 0.9)},
    "without its end": lambda content: content[:-40],
    "a hole": lambda content: content[:600] + bytes(512) + content[1112:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_kept_under_another_name_and_passed_over(
    points: list[Path], damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = points
    content = DAMAGES[damage](new.read_bytes())
    new.write_bytes(content)
    assert newest_resume_point(new.parent) == old
    assert resume_points(new.parent) == [old]
    assert Path(f"{new}.damaged").read_bytes() == content
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith(f"{new} is damaged (") and said.endswith(f"kept as {new}.damaged, and not resumed from")


def test_without_a_whole_one_it_is_said_that_training_begins_anew(
    points: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    for path in points:
        path.write_bytes(b"")
    assert newest_resume_point(points[0].parent) is None
    assert len(list(points[0].parent.glob("*.damaged"))) == 2
    assert caplog.records[-1].getMessage().endswith("no resume point is whole, so training begins at update 0")
    assert caplog.records[-1].levelno == logging.WARNING
    caplog.clear()
    assert newest_resume_point(points[0].parent) is None and not caplog.records  # as in a new run


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_disk_that_does_not_answer_costs_nothing(
    points: list[Path], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    for where, name in ((torch, "load"), (Path, "open")):
        with monkeypatch.context() as patched, pytest.raises(DataError) as caught:
            patched.setattr(where, name, refused)
            newest_resume_point(points[0].parent)
        assert str(caught.value) == (
            f"{points[1]} cannot be read ({os.strerror(code)}); make it readable and run again: training carries on "
            "from it"
        )
    assert resume_points(points[0].parent) == points


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")]
)
def test_too_little_memory_costs_nothing(points: list[Path], error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(checkpoints.torch, "load", full)
    with pytest.raises(DataError, match=r"resume-step=20\.ckpt does not fit into the memory \(.+\); free memory and"):
        newest_resume_point(points[0].parent)
    assert resume_points(points[0].parent) == points
