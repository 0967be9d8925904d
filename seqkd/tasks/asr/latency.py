"""What the report of speech recognition shows of streaming systems: errors against latency.

Legend: N utterances of all test sets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rapidfuzz.distance import Levenshtein

from seqkd.data.features import FeatureStore
from seqkd.decoding.latency import LATENCY, SPIKES
from seqkd.deploy.boundaries import Sound, widen
from seqkd.deploy.words import FrameTimes, Word
from seqkd.experiment.parts import bullets, table
from seqkd.experiment.read import Experiment, System
from seqkd.scoring.formats import read_text
from seqkd.scoring.wer import count
from seqkd.statistics.bootstrap import bootstrap_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from omegaconf import DictConfig


MARKERS = {"-": "o", "--": "s", ":": "^"}  # by dash


@dataclass(frozen=True)
class SpokenWord:
    """A word of a reference: its ``end``, and the frame of the teacher's ``spike``, in seconds."""

    text: str
    end: float
    spike: float


@dataclass(frozen=True)
class LatencyPoint:
    """A system at one latency, over all its seeds.

    Attributes:
        system: its name.
        chunk, lookahead: in milliseconds.
        wer: errors over words.
        ci95: its interval, over utterances.
        delays: seconds from a word's end to its emission, of the words that are right.
        lags: seconds from the teacher's spike to the student's, of the same.
    """

    system: str
    chunk: float
    lookahead: float
    wer: float
    ci95: tuple[float, float] | None
    delays: np.ndarray
    lags: np.ndarray


def latency_sections(cfg: DictConfig, experiment: Experiment) -> list[str]:
    """The table and the figure of latencies; nothing where no streaming system was decoded for them."""
    spoken = {name: _spoken(cfg, experiment, name) for name in experiment.test_sets}
    points = [point for system in experiment.finished.values() for point in _points(cfg, experiment, system, spoken)]
    if not points:
        return []
    from seqkd.experiment.figures import save_all

    figure = draw(experiment, points)
    drawn = save_all({"latency.png": (figure, "WER against latency")}, Path(cfg.report.out).parent / "figures")
    return [
        "## Latency",
        table(
            ["System", "Chunk, ms", "Look-ahead, ms", "WER % [95 %]", "Lead kept", "Emission, ms", "90 %", "Spike, ms"],
            [*_rows(experiment, points)],
        ),
        bullets(
            [
                "Chunk: what is read at a time; the frames of a chunk wait for its end. Look-ahead: what is read "
                "beyond it. Systems that read whole utterances first have neither; of a streaming system, “all” is the "
                "same weights without limits of context. Greedy search; intervals are over utterances.",
                "Emission: from a word's end to when its last unit is written, median and 90th percentile of the words "
                "that are right, in milliseconds of the sound: computing comes on top. A word can be written before it "
                "ends. The end is that of a forced alignment of the reference by the teacher, widened to the sound "
                "around it (tests/bench/export.md has how far off such ends are).",
                "Spike: from the frame in which the teacher's alignment writes the word to that in which the system "
                "does, mean of the same words: more than 0 is later than the teacher.",
            ]
        ),
        *drawn,
    ]


def _rows(experiment: Experiment, points: list[LatencyPoint]) -> Iterator[list[str]]:
    rates = {name: estimates["wer"].value for name, estimates in experiment.estimates.items()}
    teacher, student = (rates.get(name) for name in (experiment.task.teacher, experiment.task.student))
    known = teacher is not None and student is not None and student > teacher

    def lead(rate: float) -> str:
        return f"{100 * (student - rate) / (student - teacher):.0f} %" if known else "–"

    streaming = {point.system for point in points}
    for name, system in experiment.finished.items():
        if name not in streaming:
            yield [system.label, "all", "all", f"**{100 * rates[name]:.2f}**", lead(rates[name]), "–", "–", "–"]
    for point in points:
        ends = "" if point.ci95 is None else f" [{100 * point.ci95[0]:.2f}, {100 * point.ci95[1]:.2f}]"
        timed = (
            [
                f"{1000 * np.median(point.delays):.0f}".replace("-", "−"),
                f"{1000 * np.percentile(point.delays, 90):.0f}".replace("-", "−"),
                f"{1000 * point.lags.mean():+.0f}".replace("-", "−"),
            ]
            if len(point.delays)
            else ["–", "–", "–"]
        )
        label = experiment.systems[point.system].label
        numbers = [f"{point.chunk:.0f}" if point.chunk else "all", f"{point.lookahead:.0f}"]
        yield [label, *numbers, f"**{100 * point.wer:.2f}**{ends}", lead(point.wer), *timed]


def _points(
    cfg: DictConfig, experiment: Experiment, system: System, spoken: Mapping[str, Mapping[str, list[SpokenWord]]]
) -> Iterator[LatencyPoint]:
    """Read ``latency.json`` of all seeds and test sets of a system."""
    read = [{name: run.directory / f"decode_{name}" / LATENCY for name in experiment.test_sets} for run in system.runs]
    if not read or not all(path.is_file() for paths in read for path in paths.values()):
        return
    found = [{name: json.loads(path.read_text())["points"] for name, path in paths.items()} for paths in read]
    references = {name: read_text(Path(cfg.data) / name / "text") for name in experiment.test_sets}
    for number, first in enumerate(found[0][experiment.test_sets[0]]):
        errors, words, delays, lags = [], [], [], []
        for seed in found:
            own_errors = []
            for name, points in seed.items():
                utterances = points[number]["utterances"]
                texts = {key: " ".join(one["words"]) for key, one in utterances.items()}
                counted = count(references[name], texts, characters=False).words
                own_errors.append(counted.errors)
                if seed is found[0]:
                    words.append(counted.length)
                for key, one in utterances.items():
                    for word, emitted, spike in _right(spoken[name].get(key, []), one):
                        delays.append(emitted - word.end)
                        lags.append(spike - word.spike)
            errors.append(np.concatenate(own_errors))
        errors, words = np.stack(errors), np.concatenate(words)
        interval = bootstrap_interval(errors, words, replicates=cfg.report.replicates)
        yield LatencyPoint(
            system.name,
            first["chunk"] * first["shift_ms"],
            first["delay"] * first["shift_ms"],
            float(errors.sum() / (len(errors) * words.sum())),
            interval,
            np.array(delays),
            np.array(lags),
        )


def _right(spoken: list[SpokenWord], found: Mapping[str, Any]) -> Iterator[tuple[SpokenWord, float, float]]:
    """Words of an utterance that are right, with their emissions and spikes."""
    words = [word.text for word in spoken]
    for block in Levenshtein.opcodes(words, found["words"]):
        if block.tag == "equal":
            for ours, theirs in zip(
                range(block.src_start, block.src_end), range(block.dest_start, block.dest_end), strict=True
            ):
                yield spoken[ours], found["emitted"][theirs], found["spikes"][theirs]


def _spoken(cfg: DictConfig, experiment: Experiment, name: str) -> dict[str, list[SpokenWord]]:
    """When each word of a test set was spoken, by the teacher's alignment; empty where there is none."""
    teacher = experiment.finished.get(experiment.task.teacher)
    path = teacher and teacher.runs[0].directory / f"decode_{name}" / SPIKES
    if not path or not path.is_file():
        return {}
    read = json.loads(path.read_text())
    store = FeatureStore([Path(cfg.data) / name])
    shift, features = read["shift_ms"] / 1000, store.settings
    times, found = FrameTimes(shift, features.frame_shift_ms / 2000), {}
    for key, one in read["utterances"].items():
        words = [
            Word(text, times.start(begin), times.start(end), 1.0)
            for text, (begin, _, end) in zip(one["words"], one["spans"], strict=True)
        ]
        wider = widen(words, Sound.of(store[key], features.frame_shift_ms / 1000))
        found[key] = [
            SpokenWord(word.text, word.end, spike * shift)
            for word, (_, spike, _) in zip(wider, one["spans"], strict=True)
        ]
    return found


def draw(experiment: Experiment, points: list[LatencyPoint]) -> Figure:
    """WER against the median emission delay, a line a system, and across it those that read whole utterances."""
    from seqkd.experiment.figures import colour_of, dash_of, new_figure

    lines = len(experiment.finished)
    figure, (axes,) = new_figure(1, 7.5, 3.4 + 0.2 * lines)
    timed = all(len(point.delays) for point in points)
    for name in dict.fromkeys(point.system for point in points):
        own = [point for point in points if point.system == name and point.chunk]
        at = [1000 * float(np.median(point.delays)) if timed else point.chunk + point.lookahead for point in own]
        dash = dash_of(experiment, name)
        axes.plot(
            at,
            [100 * point.wer for point in own],
            marker=MARKERS[dash],  # of a system with one point there is no line
            color=colour_of(experiment, name),
            linestyle=dash,
            label=experiment.systems[name].label,
        )
    streaming = {point.system for point in points}
    for name, system in experiment.finished.items():
        if name not in streaming:
            rate = 100 * experiment.estimates[name]["wer"].value
            label = f"{system.label} (whole utterances)"
            axes.axhline(rate, color=colour_of(experiment, name), linestyle=":", linewidth=1, label=label)
    axes.set_xlabel(
        "median delay from a word's end to its emission, ms" if timed else "chunk and look-ahead together, ms"
    )
    axes.set_ylabel("WER %")
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside lower left", ncols=1, frameon=False)  # two of the longest labels are wider than it
    return figure
