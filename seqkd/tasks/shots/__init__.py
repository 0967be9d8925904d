"""Songs to sequences of camera shots by deep interactive learning: ``egs/*/music2shot``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from seqkd.errors import ConfigError
from seqkd.layout import plain, run_directory
from seqkd.stages import again
from seqkd.tasks.settings import unlabelled_sets
from seqkd.tasks.shots.scores import ShotsScores
from seqkd.training.order import teachers_by_name

if TYPE_CHECKING:
    from seqkd.losses import Objective
    from seqkd.task import RunName
    from seqkd.tasks.shots.work import SongWork
    from seqkd.training.study import Study

STUDENTS = ("dil_unlabelled", "student_kd_unlabelled", "dil", "student_kd", "student")  # the best kind first


class ShotsTask(ShotsScores):
    """See `seqkd.task.Task`."""

    def prepare(self, cfg: DictConfig) -> None:
        """Features of every set that is used."""
        from seqkd.shots.audio import features

        sets = cfg.sets
        for name in dict.fromkeys([sets.train, *sets.teacher, *cfg.unlabelled, sets.dev, *sets.test]):
            settings = features.SongFeatureSettings(**cfg.features)
            count = features.make_features(Path(cfg.data) / name, settings, cfg.nj)
            print(f"{name}: {count} songs")

    def teachers_of(self, cfg: DictConfig, system: DictConfig, seed: int) -> list[RunName]:
        """The runs of the same seed that ``system.teacher`` names."""
        return teachers_by_name(system, seed)

    def check_teachers(self, cfg: DictConfig) -> str:
        """Nothing: teachers are scored like all systems."""
        return ""

    def make_book(self, cfg: DictConfig, systems: Sequence[DictConfig], shard: int, shards: int) -> None:
        """Nothing: a teacher writes its book when it is made, and interaction one a round."""
        print("a teacher's outputs are written when it is trained")

    def entries_to_make(self, cfg: DictConfig, systems: Sequence[DictConfig]) -> int:
        """None: see `make_book`."""
        return 0

    def describe(self, cfg: DictConfig, objective: Objective) -> dict[str, Any]:
        """Songs and features; networks and training where there are any; and those that it is made from."""
        from seqkd.shots.model import directory_hash
        from seqkd.tasks.shots.work import ShotData

        data, system = ShotData(cfg), cfg.system
        kind = system.procedure.rpartition(".")[2]
        found: dict[str, Any] = {
            "data": {cfg.sets.train: data.train.fingerprint, cfg.sets.dev: data.dev.fingerprint},
            "features": plain(cfg.features) | {"count": len(data.train.names)},
            "language": plain(cfg.language),
            "procedure": system.procedure,
        }
        if cfg.sets.teacher and kind in ("assistant", "fused_teacher", "rounds", "from_director"):
            found["data"]["teacher"] = data.teachers.fingerprint
        if (unlabelled_sets(cfg) or kind in ("fused_teacher", "rounds")) and data.unlabelled:
            found["data"]["unlabelled"] = data.unlabelled.fingerprint
        if system.use_unlabelled:
            found["use_unlabelled"] = True
        if kind not in ("language", "fused_teacher", "last_teacher"):
            found |= data.describe() | {"seconds": system.seconds}
        if kind == "fused_teacher":
            found["teacher"] = plain(cfg.teacher) | {"fusion": system.fusion}
        if kind in ("student", "rounds", "from_director"):
            found["interaction"] = plain(cfg.interaction) if kind == "rounds" else {"rounds": cfg.interaction.rounds}
        made_from = {}
        for name, seed in teachers_by_name(system, cfg.seed):
            home = run_directory(cfg, name, seed)
            if not (home / "summary.json").is_file():
                raise ConfigError(f"{home} has no finished model, and {system.name} needs it; {again('teachers')}")
            made_from[name] = directory_hash(home / "model")
        return found | {"made_from": made_from}

    def workload(self, study: Study) -> SongWork:
        """Songs and a fresh network, for a procedure that trains once."""
        from seqkd.tasks.shots.work import ShotData, SongWork

        data = ShotData(study.cfg)
        model = data.fresh_model(data.train, study.cfg.system.seconds)
        return SongWork(data, data.students, model, seed=study.seed)

    def decode(self, cfg: DictConfig, run: Path, name: str) -> None:
        """``decode_<set>/``: shots and probabilities of every song."""
        from seqkd.shots.decoding import decode_run

        decode_run(cfg, run, name)

    def export(self, cfg: DictConfig, systems: Sequence[DictConfig]) -> None:
        """Copy the student with the least dev error, of the best kind that was trained, to ``<exp>/model``.

        Raises:
            ConfigError: no student is finished.
        """
        from seqkd.shots.model import load_shot_model, save_shot_model

        for system in STUDENTS:
            runs = {}
            for seed in range(cfg.seeds):
                run = run_directory(cfg, system, seed)
                if (run / "summary.json").is_file():
                    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
                    runs[run] = summary["best_dev_error"]
            if runs:
                best = min(runs, key=runs.__getitem__)
                target = Path(cfg.exp) / "model"
                save_shot_model(target, load_shot_model(best / "model"))
                print(
                    f"{system}/{best.name} has the least dev error ({100 * runs[best]:.2f} %). Cut a song with it:\n"
                    f"  seqkd shots SONG -o cut.otio --model {shlex.quote(str(target.resolve()))}"
                )
                return
        raise ConfigError(f"{cfg.exp} has no finished student to export; {again('students')}")


TASK = ShotsTask()
