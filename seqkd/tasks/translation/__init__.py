"""Translation by encoder–decoder models, with label smoothing and distillation by token: ``egs/*/seq2seq_ls``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from seqkd.errors import DataError
from seqkd.layout import plain, run_directory
from seqkd.tasks.translation.scores import TranslationScores
from seqkd.training.order import teachers_by_name

if TYPE_CHECKING:
    from seqkd.losses import Objective
    from seqkd.task import RunName
    from seqkd.tasks.translation.work import TextWork
    from seqkd.training.study import Study


class TranslationTask(TranslationScores):
    """See `seqkd.task.Task`."""

    def prepare(self, cfg: DictConfig) -> None:
        """Validate the pairs of every set; one tokenizer for both sides."""
        check_pairs(cfg)
        make_tokens(cfg)

    def teachers_of(self, cfg: DictConfig, system: DictConfig, seed: int) -> list[RunName]:
        """The runs that ``system.teacher`` names: one, or those that are ensembled in a book."""
        return teachers_by_name(system, seed)

    def check_teachers(self, cfg: DictConfig) -> str:
        """Nothing: teachers are scored like all systems."""
        return ""

    def make_book(self, cfg: DictConfig, systems: Sequence[DictConfig], shard: int, shards: int) -> None:
        """What teachers give to the training set, for the systems that ask for it: distributions, or translations.

        A book is in its teacher's run, and goes with it; that of several teachers is in ``<exp>/book/``. Translations
        are the first shard's.
        """
        from seqkd.translation import book

        asked = _asked(cfg, systems)
        if not asked:
            print("no system learns from another: there is no book to make")
        for runs, students in asked.items():
            directories = [run_directory(cfg, *run) for run in runs]
            if shard == 0 and any(one.targets == "beam" for one in students):
                self.decode(cfg, directories[0], cfg.sets.train)
            if any(one.knowledge == "book" for one in students):
                book.make_book(cfg, directories, shard, shards)

    def entries_to_make(self, cfg: DictConfig, systems: Sequence[DictConfig]) -> int:
        """Sentences that books lack, and one for each teacher that translates: decoding skips what is there."""
        from seqkd.translation import book

        missing = 0
        for runs, students in _asked(cfg, systems).items():
            missing += any(one.targets == "beam" for one in students)
            if any(one.knowledge == "book" for one in students):
                missing += book.missing_entries(cfg, [run_directory(cfg, *run) for run in runs])
        return missing

    def describe(self, cfg: DictConfig, objective: Objective) -> dict[str, Any]:
        """Model, training, text, units and teacher."""
        from seqkd.data.tokens import Tokenizer
        from seqkd.models.storage import model_hash
        from seqkd.tasks.translation.work import finished_teachers
        from seqkd.translation.pairs import pairs_fingerprint, read_pairs

        role = cfg[cfg.system.role]
        teachers = [model_hash(run / "model") for run in finished_teachers(cfg)]
        pairs = {name: read_pairs(Path(cfg.data) / cfg.sets[name]) for name in ("train", "dev")}
        return {
            "model": plain(role.model),
            "training": _stated(plain(role.training)),
            "text": plain(cfg.text),
            "tokenizer": Tokenizer.load(Path(cfg.tokens.directory)).hash,
            "teacher": teachers if len(teachers) > 1 else next(iter(teachers), None),
            "targets": cfg.system.targets,
            "knowledge": describe_knowledge(cfg),
            "data": {name: pairs_fingerprint(of_set) for name, of_set in pairs.items()},
        }

    def workload(self, study: Study) -> TextWork:
        """Sentence pairs, the model and its teacher."""
        from seqkd.tasks.translation.work import TextWork

        return TextWork(study)

    def decode(self, cfg: DictConfig, run: Path, name: str) -> None:
        """``decode_<set>/{text,hyp.jsonl,forced.npz}``."""
        from seqkd.translation.decoding import decode_run

        decode_run(cfg, run, name)

    def export(self, cfg: DictConfig, systems: Sequence[DictConfig]) -> None:
        """Nothing yet: a trained run's ``model/`` is what there is to deploy."""
        print("translation: a trained run's model/ is what there is to deploy; nothing is exported")


def _stated(training: dict[str, Any]) -> dict[str, Any]:
    """Training settings, but for those that change nothing as they are by default: runs from before stay valid."""
    default = {"patience": 0, "keep": [], "schedule": "cosine"}
    return {key: value for key, value in training.items() if key not in default or value != default[key]}


def _asked(cfg: DictConfig, systems: Sequence[DictConfig]) -> dict[tuple[RunName, ...], list[DictConfig]]:
    """The teachers' runs that systems learn from, one or several together, with those systems."""
    asked: dict[tuple[RunName, ...], list[DictConfig]] = {}
    for one in systems:
        for seed in range(cfg.seeds):
            if runs := teachers_by_name(one.system, seed):
                asked.setdefault(tuple(runs), []).append(one.system)
    return asked


def check_pairs(cfg: DictConfig) -> None:
    """Validate the sets, and say what training leaves out."""
    from seqkd.translation import pairs as text

    for name in dict.fromkeys([cfg.sets.train, cfg.sets.dev, *cfg.sets.test]):
        pairs = text.read_pairs(Path(cfg.data) / name)
        kept, dropped = text.filter_pairs(pairs, max_words=cfg.text.max_words, max_ratio=cfg.text.max_ratio)
        if not kept:
            raise DataError(
                f"{Path(cfg.data) / name}: none of its {len(pairs)} pairs is usable ({dropped}); raise text.max_words "
                f"({cfg.text.max_words}) or text.max_ratio ({cfg.text.max_ratio}), or look into src and tgt"
            )
        left_out = f"; training leaves out {dropped}" if name == cfg.sets.train else ""
        print(f"{name}: {len(pairs)} pairs, {sum(pair.words[1] for pair in pairs)} target words{left_out}")


def make_tokens(cfg: DictConfig) -> None:
    """Train one tokenizer for both sides, or leave it alone if its text and settings are unchanged."""
    from seqkd.data.tokens import train_tokenizer
    from seqkd.translation.pairs import read_pairs

    directory = Path(cfg.tokens.directory)
    lines = [text for pair in read_pairs(Path(cfg.data) / cfg.sets.train) for text in (pair.source, pair.target)]
    tokenizer = train_tokenizer(
        lines, type=cfg.tokens.type, vocab_size=cfg.tokens.vocab_size, special="<boundary>", form=None
    )
    if not tokenizer.is_in(directory):
        tokenizer.save(directory)
    print(f"{len(tokenizer)} {cfg.tokens.type} units from {len(lines)} lines of {cfg.sets.train}")


def describe_knowledge(cfg: DictConfig) -> dict[str, Any] | str | None:
    """Where the teacher's distributions come from: part of what decides a run's result."""
    if not cfg.system.teacher or cfg.system.knowledge == "live":
        return "live" if cfg.system.teacher else None
    return plain(cfg.book)


TASK = TranslationTask()
