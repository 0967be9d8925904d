"""What a student is about to learn from: teacher WER, blanks, entropy, and where the spikes are.

Letters: B utterances, T' encoder frames, C classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from omegaconf import DictConfig
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from seqkd.data.tokens import Tokenizer
from seqkd.decoding.greedy import greedy_decode
from seqkd.errors import ConfigError
from seqkd.files import atomic_path, write_json
from seqkd.knowledge import mix
from seqkd.layout import run_directory
from seqkd.models.ctc import CtcModel, load_model
from seqkd.models.layers import Subsampling
from seqkd.progress import ProgressBar
from seqkd.stages import again
from seqkd.teachers.aligned import AlignedTeacher, ExternalTeacher, Sets
from seqkd.teachers.external.audio import SequenceTeacher
from seqkd.teachers.external.sequence import fitted
from seqkd.teachers.making import teachers_of
from seqkd.teachers.own import weights_of

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

    @property
    def wer(self) -> float:
        """Word error rate."""
        if not self.words:
            raise ConfigError("the dev set has no words to measure the teacher on")
        return self.errors / self.words

    def count_words(self, reference: str, hypothesis: str) -> None:
        """Add one transcript."""
        words = reference.split()
        self.errors += Levenshtein.distance(words, hypothesis.split())
        self.words += len(words)


def check_teacher(cfg: DictConfig) -> str:
    """Measure the teachers on dev, save ``check.json`` and ``check.png``, and return the summary to print.

    Several are measured each and as the mean that students learn from. One from elsewhere comes with the table of its
    units; one that cannot teach frames is measured by its transcripts.
    Raises ConfigError when a teacher and its students do not fit.
    """
    tokenizer = Tokenizer.load(Path(cfg.tokens.directory))
    sets = Sets.of(Path(cfg.data), [cfg.sets.dev], tokenizer)
    out = Path(cfg.exp) / "teacher"
    teaching = teachers_of(cfg, tokenizer)
    if isinstance(teaching, SequenceTeacher):
        wer = transcripts_wer(teaching, sets, tokenizer)
        write_json(out / "check.json", {"dev_wer": round(wer, 4), "teacher": teaching.name})
        return f"{teaching.name} teaches by its transcripts; dev WER: {wer:.4f}"
    answers = all_answers(teaching, sets, weights_of(cfg, {one.name: one.hash for one in teaching}))
    model = run_directory(cfg, "student", 0) / "model"
    reference = load_model(model)[0] if (model / "model.safetensors").is_file() else None
    found = measure(answers["mean" if len(teaching) > 1 else teaching[0].name], reference, sets, tokenizer)
    frame_shift_ms = cfg.features.frame_shift_ms * Subsampling.factor
    summary = summarise(found, tokenizer, frame_shift_ms, reference is not None)
    if len(teaching) > 1:
        each = {name: measure(spoken, None, sets, tokenizer) for name, spoken in answers.items()}
        summary["dev_wer_of"] = {name: round(one.wer, 4) for name, one in each.items()}
        utterance = max(sets.corpus.transcripts, key=lambda u: (len(sets.corpus.targets[u]), u))
        draw_posteriors({name: one[utterance] for name, one in answers.items()}, tokenizer, out / "teachers.png")
    write_json(out / "check.json", summary)
    draw(found, out / "check.png", frame_shift_ms)
    lines = [f"{one.name}\n{one.mapping.table()}" for one in teaching if isinstance(one, ExternalTeacher)]
    lines += [f"{name.replace('_', ' ')}: {value}" for name, value in summary.items()]
    if reference is None:
        lines.append(
            f"spike offsets: to compare with a student's spikes, train one ({model.parent}), then {again('check')}"
        )
    return "\n".join([*lines, f"figure: {out / 'check.png'}"])


def all_answers(
    teaching: Sequence[AlignedTeacher], sets: Sets, weights: Sequence[float]
) -> dict[str, dict[str, Tensor]]:
    """(T', C) log-probabilities by teacher and utterance; of several also their ``mean``, as students learn it."""
    ids = list(sets.corpus.transcripts)
    names = [one.name for one in teaching]
    names = [f"{name} {k}" if names.count(name) > 1 else name for k, name in enumerate(names)]
    spoken = {}
    for name, one in zip(names, teaching, strict=True):
        answers = ProgressBar(one.log_probs(sets, ids), total=len(ids), desc=f"{name} on dev", unit="utt")
        spoken[name] = dict(zip(ids, answers, strict=True))
    if len(names) > 1:
        spoken["mean"] = {u: mix([spoken[name][u] for name in names], weights).float() for u in ids}
    return spoken


def transcripts_wer(teacher: SequenceTeacher, sets: Sets, tokenizer: Tokenizer) -> float:
    """WER of the best hypotheses, in the student's spelling."""
    found = TeacherStatistics()
    ids = list(sets.corpus.transcripts)
    speech = ProgressBar(
        sets.speech(ids, teacher.sample_rate), total=len(ids), desc=f"{teacher.name} on dev", unit="utt"
    )
    for utterance, one in zip(ids, speech, strict=True):
        best = teacher.transcribe([one], 1)[0]
        found.count_words(sets.corpus.transcripts[utterance], fitted(best[0].text, tokenizer) if best else "")
    return found.wer


@torch.no_grad()
def measure(
    answers: Mapping[str, Tensor], reference: CtcModel | None, sets: Sets, tokenizer: Tokenizer
) -> TeacherStatistics:
    """Statistics of a teacher's answers (T', C) by utterance, and against the reference student if there is one."""
    found = TeacherStatistics()
    for utterance, log_probs in answers.items():
        frames = len(log_probs)
        ids = greedy_decode(log_probs[None], torch.tensor([frames]))[0]
        found.count_words(sets.corpus.transcripts[utterance], tokenizer.decode(ids))
        entropy = -(log_probs.exp() * log_probs).sum(-1)  # (T',)
        best = log_probs.argmax(-1)
        spikes = best != tokenizer.blank
        found.frames += frames
        found.blank_frames += frames - int(spikes.sum())
        found.entropy += float(entropy.sum())
        found.nonblank_entropy += float(entropy[spikes].sum())
        found.entropies += entropy.tolist()
        if reference is not None:
            features = sets.corpus.store[utterance][None]
            other = reference(features, torch.tensor([features.shape[1]])).logits[0].argmax(-1)
            matched, unmatched = spike_offsets(best, other, tokenizer.blank)
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


def summarise(found: TeacherStatistics, tokenizer: Tokenizer, frame_shift_ms: float, compared: bool) -> dict:
    """Numbers for ``check.json``."""
    spikes = found.frames - found.blank_frames
    summary = {
        "dev_wer": round(found.wer, 4),
        "classes": len(tokenizer),
        "tokenizer": tokenizer.hash,
        "frame_shift_ms": frame_shift_ms,
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
        axes[1].text(
            0.5, 0.5, f"no reference student yet:\nwhen there is one,\n{again('check')}", ha="center", va="center"
        )
        axes[1].set_axis_off()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    pyplot.close(figure)


def draw_posteriors(answers: Mapping[str, Tensor], tokenizer: Tokenizer, path: Path) -> None:
    """Posteriors of each teacher and of their mean for one utterance: whether spikes stand together or blur."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(answers), 1, figsize=(9, 1.6 * len(answers)), sharex=True, layout="constrained")
    unit_names, shown = tokenizer.units, {}
    for axis, (name, log_probs) in zip(axes, answers.items(), strict=True):
        probs = log_probs.exp()
        units = [unit for unit in range(probs.shape[1]) if unit != tokenizer.blank and probs[:, unit].max() > 0.2]
        axis.plot(probs[:, tokenizer.blank], color="0.8", linewidth=1, label="blank")
        for unit in units:  # one colour a unit, whoever says it
            axis.plot(probs[:, unit], linewidth=1.4, color=pyplot.get_cmap("tab20")(unit % 20), label=unit_names[unit])
        axis.set(ylim=(0, 1.02), ylabel=name)
        shown |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    axes[-1].set_xlabel("frame of the student's clock")
    figure.legend(shown.values(), shown.keys(), loc="outside right upper", fontsize="small")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    pyplot.close(figure)
