"""Modules that have moved: their old names go on working for one release, with a DeprecationWarning."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Old name: new name, both below seqkd.
MOVED = {
    "cli.checks": "config",
    "data.acoustics": "corpora.speech.acoustics",
    "data.asterisk_prompts": "corpora.speech.asterisk_prompts",
    "data.asterisk_sounds": "corpora.speech.asterisk_sounds",
    "data.audio_sets": "corpora.speech.audio_sets",
    "data.corpus": "corpora.corpus",
    "data.dates": "corpora.text.dates",
    "data.dates_phrases": "corpora.text.dates_phrases",
    "data.debian": "corpora.debian",
    "data.espeak_voice_list": "corpora.speech.espeak_voice_list",
    "data.espeak_voices": "corpora.speech.espeak_voices",
    "data.espeak_voices_worker": "corpora.speech.espeak_voices_worker",
    "data.kaldi_tables": "data.tables",
    "data.librispeech": "corpora.speech.librispeech",
    "data.librispeech_download": "corpora.speech.librispeech_download",
    "data.manpages": "corpora.text.manpages",
    "data.manpages_align": "corpora.text.manpages_align",
    "data.manpages_roff": "corpora.text.manpages_roff",
    "data.own_audio": "corpora.own.audio",
    "data.own_convert": "corpora.own.convert",
    "data.own_sources": "corpora.own.sources",
    "data.own_splits": "corpora.own.splits",
    "data.own_tables": "corpora.own.tables",
    "data.pairs": "translation.pairs",
    "data.parallel": "corpora.text.parallel",
    "data.parallel_files": "corpora.text.parallel_files",
    "data.parallel_split": "corpora.text.parallel_split",
    "data.phrases": "corpora.speech.phrases",
    "data.text_batches": "translation.batches",
    "data.word_lists": "corpora.speech.word_lists",
    "decoding.forced": "ctc.alignment",
    "decoding.seq2seq": "translation.decoding",
    "scoring.bootstrap": "statistics.bootstrap",
    "scoring.calibration": "statistics.calibration",
    "scoring.comparisons": "experiment.findings",
    "scoring.experiment": "experiment.read",
    "scoring.figures": "experiment.figures",
    "scoring.inference_calibration": "translation.inference",
    "scoring.mapsswe": "statistics.mapsswe",
    "scoring.provenance": "experiment.provenance",
    "scoring.report": "experiment.report",
    "scoring.report_parts": "experiment.parts",
    "scoring.run_files": "experiment.files",
    "scoring.segments": "scoring.formats",
    "scoring.token_calibration": "translation.forced",
    "scoring.translation": "translation.scorer",
    "scoring.translation_bootstrap": "statistics.bootstrap",
    "scoring.translation_comparisons": "experiment.findings",
    "scoring.translation_experiment": "experiment.read",
    "scoring.translation_figures": "tasks.translation.figures",
    "scoring.translation_files": "translation.files",
    "scoring.translation_measures": "translation.measures",
    "scoring.translation_report": "experiment.report",
    "scoring.translation_score": "translation.scores",
    "shots.beats": "shots.audio.beats",
    "shots.compiled": "shots.audio.compiled",
    "shots.concerts": "corpora.songs.concerts",
    "shots.director": "corpora.songs.director",
    "shots.drafts": "shots.editing.drafts",
    "shots.experiment": "experiment.read",
    "shots.export_files": "shots.editing.export_files",
    "shots.export_otio": "shots.editing.export_otio",
    "shots.export_text": "shots.editing.export_text",
    "shots.features": "shots.audio.features",
    "shots.figures": "tasks.shots.figures",
    "shots.findings": "tasks.shots.sections",
    "shots.imports": "corpora.songs.imports",
    "shots.instruments": "corpora.songs.instruments",
    "shots.report": "experiment.report",
    "shots.scoring": "experiment.scores",
    "shots.shot_lists": "corpora.songs.shot_lists",
    "shots.snap": "shots.editing.snap",
    "shots.songwriting": "corpora.songs.songwriting",
    "shots.spectrum": "shots.audio.spectrum",
    "shots.storyboard": "shots.editing.storyboard",
    "shots.structure": "shots.audio.structure",
    "shots.synth": "corpora.songs.synth",
    "shots.tagger": "shots.audio.tagger",
    "shots.timecode": "shots.editing.timecode",
    "shots.timeline": "shots.editing.timeline",
    "tasks.ctc_kd": "tasks.asr",
    "tasks.music2shot": "tasks.shots",
    "tasks.seq2seq_ls": "tasks.translation",
    "teachers.agreement": "teachers.external.agreement",
    "teachers.audio": "teachers.external.audio",
    "teachers.bundles": "teachers.external.bundles",
    "teachers.descriptions": "teachers.external.descriptions",
    "teachers.files": "teachers.external.files",
    "teachers.huggingface": "teachers.external.huggingface",
    "teachers.huggingface_writing": "teachers.external.huggingface_writing",
    "teachers.listeners": "teachers.aligned",
    "teachers.network": "teachers.external.network",
    "teachers.opening": "teachers.external.opening",
    "teachers.rates": "teachers.external.rates",
    "teachers.seq2seq_book": "translation.book",
    "teachers.sequence": "teachers.external.sequence",
    "teachers.transcript_lines": "teachers.external.transcript_lines",
    "teachers.transcripts": "teachers.external.transcripts",
    "teachers.vocabulary": "teachers.external.vocabulary",
}


class _Moved(MetaPathFinder, Loader):
    """Finds the new module under the old name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Only for names of the table."""
        return ModuleSpec(fullname, self) if fullname.removeprefix("seqkd.") in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The new module itself, so that its classes are the same under both names."""
        new = f"seqkd.{MOVED[spec.name.removeprefix('seqkd.')]}"
        warnings.warn(f"{spec.name} is now {new}; the old name goes with the next release", DeprecationWarning, 2)
        module = importlib.import_module(new)
        self._own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It has been executed; take back what the import system has written into it."""
        module.__spec__ = self._own


def renamed(module: str, **names: str) -> Callable[[str], Any]:
    """A ``__getattr__`` for a module: names of it that are others now, for one release."""

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(f"{module}.{name} is now {names[name]}; it goes with the next release", DeprecationWarning, 2)
        return getattr(sys.modules[module], names[name])

    return find


def install() -> None:
    """Look old names up after all others."""
    if not any(type(finder).__name__ == "_Moved" for finder in sys.meta_path):
        sys.meta_path.append(_Moved())
