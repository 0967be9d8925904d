"""What a student is about to learn from: teacher WER, blanks, entropy, and where the spikes are.

Letters: B utterances, T' encoder frames, C classes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch
from omegaconf import DictConfig
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from seqkd.data.batches import evaluation_batches, load_corpus
from seqkd.data.tokens import Tokenizer
from seqkd.decoding.greedy import greedy_decode
from seqkd.errors import ConfigError
from seqkd.files import atomic_path, write_json
from seqkd.layout import run_directory
from seqkd.models.ctc import CtcModel, load_model
from seqkd.teachers.base import Teacher, align_frames
from seqkd.teachers.own import check_student, teacher_of

WIDEST_OFFSET = 6  # frames; spikes further apart are counted as unmatched


@dataclass
class TeacherStatistics:
    """Sums over dev. Entropies are in nats a frame; offsets are student minus teacher, in frames."""

    errors: int = 0
    words: int = 0
    frames: int = 0
    blank_frames: int = 0
    entropy: float = 0.0
    nonblank_entropy: float = 0.0
    offsets: Counter[int] = field(default_factory=Counter)
    unmatched_spikes: int = 0
    entropies: list[float] = field(default_factory=list)


def check_teacher(cfg: DictConfig) -> str:
    """Measure the teacher on dev, save ``check.json`` and ``check.png`` beside it, and return the summary to print.

    Raises ConfigError when teacher and student do not share units or frame rate.
    """
    teacher = teacher_of(cfg)
    tokenizer = Tokenizer.load(Path(cfg.tokens.directory))
    check_student(cfg, teacher, tokenizer)
    reference_path = run_directory(cfg, "student", 0) / "model"
    reference = load_model(reference_path)[0] if (reference_path / "model.safetensors").is_file() else None
    statistics = measure(teacher, reference, Path(cfg.data), cfg.sets.dev, tokenizer, cfg.decode.max_duration)
    summary = summarise(statistics, teacher, tokenizer, reference is not None)
    out = Path(cfg.exp) / "teacher"
    write_json(out / "check.json", summary)
    draw(statistics, out / "check.png", teacher.frame_shift_ms)
    lines = [f"{name.replace('_', ' ')}: {value}" for name, value in summary.items()]
    if reference is None:
        lines.append("spike offsets: no reference student yet (exp/student/seed0); run this stage again after stage 6")
    return "\n".join([*lines, f"figure: {out / 'check.png'}"])


@torch.no_grad()
def measure(
    teacher: Teacher,
    reference: CtcModel | None,
    data: Path,
    name: str,
    tokenizer: Tokenizer,
    max_duration: float,
) -> TeacherStatistics:
    """Run the teacher, and the reference student if there is one, over a labelled set."""
    corpus = load_corpus(data, [name], tokenizer)
    found = TeacherStatistics()
    for batch in evaluation_batches(corpus, max_duration):
        logits, lengths = teacher.logits(batch.features, batch.feature_lengths)
        for utterance, ids in zip(batch.ids, greedy_decode(logits, lengths), strict=True):
            words = corpus.transcripts[utterance].split()
            found.errors += Levenshtein.distance(words, tokenizer.decode(ids).split())
            found.words += len(words)
        log_probs = logits.float().log_softmax(-1)
        entropy = -(log_probs.exp() * log_probs).sum(-1)  # (B, T')
        best = logits.argmax(-1)
        other = None
        if reference is not None:
            output = reference(batch.features, batch.feature_lengths)
            aligned, _ = align_frames(output.logits, output.lengths, logits.shape[1], lengths)
            other = aligned.argmax(-1)
        for row, length in enumerate(lengths.tolist()):
            spikes = best[row, :length] != tokenizer.blank
            found.frames += length
            found.blank_frames += length - int(spikes.sum())
            found.entropy += float(entropy[row, :length].sum())
            found.nonblank_entropy += float(entropy[row, :length][spikes].sum())
            found.entropies += entropy[row, :length].tolist()
            if other is not None:
                matched, unmatched = spike_offsets(best[row, :length], other[row, :length], tokenizer.blank)
                found.offsets.update(matched)
                found.unmatched_spikes += unmatched
    return found


def spike_offsets(teacher: Tensor, student: Tensor, blank: int) -> tuple[list[int], int]:
    """Frames from each teacher spike to the nearest student spike of the same unit, and how many have none nearby.

    ``teacher`` and ``student`` are (T',) argmax classes. A spike is where a run of one unit begins.
    """
    begins = lambda best: [  # noqa: E731
        (t, unit) for t, unit in enumerate(best) if unit != blank and (t == 0 or best[t - 1] != unit)
    ]
    theirs = begins(student.tolist())
    offsets, unmatched = [], 0
    for t, unit in begins(teacher.tolist()):
        near = [s - t for s, u in theirs if u == unit and abs(s - t) <= WIDEST_OFFSET]
        if near:
            offsets.append(min(near, key=abs))
        else:
            unmatched += 1
    return offsets, unmatched


def summarise(found: TeacherStatistics, teacher: Teacher, tokenizer: Tokenizer, compared: bool) -> dict:
    """Numbers for ``check.json``."""
    if not found.words:
        raise ConfigError("the dev set has no words to measure the teacher on")
    spikes = found.frames - found.blank_frames
    summary = {
        "dev_wer": round(found.errors / found.words, 4),
        "classes": teacher.classes,
        "tokenizer": tokenizer.hash,
        "frame_shift_ms": teacher.frame_shift_ms,
        "blank_share": round(found.blank_frames / found.frames, 4),
        "entropy_nats_a_frame": round(found.entropy / found.frames, 4),
        "entropy_nats_a_nonblank_frame": round(found.nonblank_entropy / max(1, spikes), 4),
    }
    if compared:
        total = sum(found.offsets.values()) + found.unmatched_spikes
        summary["spikes_on_the_same_frame"] = round(found.offsets[0] / max(1, total), 4)
        summary["spikes_without_a_student_spike_nearby"] = round(found.unmatched_spikes / max(1, total), 4)
        summary["spike_offsets"] = {str(k): v for k, v in sorted(found.offsets.items())}
    return summary


def draw(found: TeacherStatistics, path: Path, frame_shift_ms: float) -> None:
    """Entropy of the teacher's frames, and the spike offsets when there are any."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    axes[0].hist(found.entropies, bins=40, log=True, color="#0072b2")
    axes[0].set(
        xlabel="entropy of a teacher frame (nats)", ylabel="frames (log scale)", title="How sure the teacher is"
    )
    if found.offsets:
        frames = range(-WIDEST_OFFSET, WIDEST_OFFSET + 1)
        axes[1].bar(frames, [found.offsets[k] for k in frames], color="#d55e00")
        axes[1].set(xlabel=f"student spike minus teacher spike (frames of {frame_shift_ms:g} ms)", ylabel="spikes")
        axes[1].set_title(f"Spike offsets; {found.unmatched_spikes} unmatched")
    else:
        axes[1].text(0.5, 0.5, "no reference student yet:\nrun stage 4 again after stage 6", ha="center", va="center")
        axes[1].set_axis_off()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    pyplot.close(figure)
