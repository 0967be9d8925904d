"""When streaming models write words: emissions, spikes, and the report's table of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from seqkd.decoding.latency import LATENCY, SPIKES, emission, word_spans
from seqkd.experiment.report import write_report
from seqkd.experiment.scores import score
from seqkd.layout import run_directory
from seqkd.tasks.asr import TASK
from tests.runs import settings, train_here

SYSTEMS = {
    "teacher": [],
    "student": [],
    "conv_stream": ["model@student.model=lookahead_conv", "student.model.lookahead=1"],
    "student_stream": ["student.model.heads=2", "student.model.kernel=3"],
}
COMMON = ["decode.chunks=[2,8,0]", "report.replicates=20", "teacher.training.updates=100", "teacher.training.lr=1e-2"]


def test_spans_of_words_of_several_units() -> None:
    """Units 1 "_a", 2 "b", 3 "_c": a word begins with "_"."""
    text = {1: " a", 2: "b", 3: " c"}
    path = torch.tensor([0, 1, 1, 0, 2, 0, 0, 3, 3, 3, 0, 1])
    decode = lambda ids: "".join(text[unit] for unit in ids).strip()  # noqa: E731
    assert word_spans(path, [1, 2, 3, 1], decode) == [[1, 4, 5], [7, 7, 10], [11, 11, 12]]
    assert word_spans(torch.zeros(5, dtype=torch.long), [], decode) == []


@pytest.mark.parametrize(("chunk", "delay"), [(1, 0), (1, 3), (4, 0), (5, 2)])
def test_a_frame_is_out_with_its_chunk(chunk: int, delay: int) -> None:
    """By playing a stream: a step of ``chunk`` frames gives outputs that are ``delay`` late."""
    for frame in range(23):
        read, out = 0, -delay
        while out <= frame:
            read, out = read + chunk, out + chunk
        assert emission(frame, chunk, delay, 23) == read


def test_the_report_has_a_row_for_each_chunk(tones: Path, tmp_path: Path) -> None:
    for name, own in SYSTEMS.items():
        system = "student" if name == "conv_stream" else name
        as_named = [f"system.name={name}"] if name == "conv_stream" else []
        train_here(tmp_path, tones, system, *COMMON, *own, *as_named)
        cfg = settings(tmp_path, tones, f"system={system}", *COMMON, *own, *as_named)
        run = run_directory(cfg, name, 0)
        TASK.decode(cfg, run, "dev")
        before = {path.name: path.stat().st_mtime_ns for path in (run / "decode_dev").iterdir()}
        TASK.decode(cfg, run, "dev")
        assert {path.name: path.stat().st_mtime_ns for path in (run / "decode_dev").iterdir()} == before
        assert (SPIKES in before) == (name == "teacher")
        assert (LATENCY in before) == name.endswith("_stream")
        score(TASK, cfg, name, 0, "dev")
    points = json.loads((tmp_path / "student_stream/seed0/decode_dev" / LATENCY).read_text())["points"]
    assert [(one["chunk"], one["delay"]) for one in points] == [(2, 0), (8, 0), (0, 0)]
    cfg = settings(tmp_path, tones, *COMMON)
    write_report(TASK, cfg, {name: {"label": name} for name in SYSTEMS}, "./run.sh")
    section = (tmp_path / "RESULTS.md").read_text().partition("## Latency")[2].partition("\n##")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| ")]
    assert [row[0].removeprefix("| ") for row in rows[2:]] == [
        *("teacher", "student", "conv_stream", "student_stream", "student_stream", "student_stream")
    ]
    assert [row[1:3] for row in rows[4:]] == [["40", "80"], ["80", "0"], ["320", "0"], ["all", "0"]]
    assert (tmp_path / "figures" / "latency.png").is_file()
