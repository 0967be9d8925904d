"""Scores of sequences of shots: what is counted, by which evidence, and what only their report shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqkd.errors import DataError
from seqkd.experiment.read import Experiment
from seqkd.experiment.scores import Scores, Undecoded, hash_of
from seqkd.shots.measures import MEASURES, REPORTED
from seqkd.stages import again
from seqkd.statistics.table import Table
from seqkd.tasks.shots.settings import MONITOR

if TYPE_CHECKING:
    from omegaconf import DictConfig


class ShotsScores(Scores):
    """Accuracy, cuts and lengths of ``decode_<set>/decoded.safetensors``, song by song."""

    name = "shots"
    measures = REPORTED
    further = tuple(measure for measure in MEASURES if measure not in REPORTED)
    monitor = MONITOR
    items = "songs"
    units = (("frames", "seconds"),)

    def evidence(self, cfg: DictConfig, run: Path, name: str) -> dict[str, Any]:
        """Hashes of the decoding, of the shot list, of the beats, and of the director where there is one."""
        decoded, data = run / f"decode_{name}", Path(cfg.data) / name
        if not (decoded / "decode.json").is_file():
            raise Undecoded(f"{decoded} has nothing decoded; {again('decode')}")
        return {
            "decoding": {"decoded.safetensors": hash_of(decoded / "decoded.safetensors")},
            "references": {file: hash_of(data / file) for file in ("wav.scp", "shots.csv", "director.safetensors")},
            "features": hash_of(data / "features" / "done.json"),
        }

    def count(self, cfg: DictConfig, run: Path, name: str) -> Table:
        """Sums of each song; see `seqkd.shots.measures`."""
        from seqkd.shots.audio.features import read_features
        from seqkd.shots.data import read_songs
        from seqkd.shots.decoding import read_decoded
        from seqkd.shots.metrics import score_song
        from seqkd.shots.truth import read_truth

        output, data = run / f"decode_{name}", Path(cfg.data) / name
        songs, decoded, tracks = read_songs(data), read_decoded(output), read_features(data)
        truths = read_truth(data) if (data / "director.safetensors").is_file() else {}
        rows = {}
        for song in songs:
            if song.shots is None:
                raise DataError(f"{data} has no shots.csv: a test set needs shots; name another set in sets.test")
            if song.id not in decoded:
                raise DataError(f"{output} lacks song {song.id!r} of {data}; {again('decode')}")
            found = decoded[song.id]
            rows[song.id] = score_song(
                song.shots,
                found.shots,
                frames=len(found.shots),
                beats=tracks[song.id].beats,
                posteriors=found.posteriors,
                director=truths[song.id].marginal if song.id in truths else None,
            )
        return Table.of_rows(rows)

    def legend(self, cfg: DictConfig, experiment: Experiment) -> list[str]:
        """Where the definitions are."""
        return ["ASC and TSC-AC are the paper's (10.1145/3394171.3413985); `seqkd.shots.metrics` defines them here."]

    def sections(self, cfg: DictConfig, experiment: Experiment) -> list[str]:
        """What is attainable, the published order, the paper's other measures, rounds, and one song."""
        from seqkd.tasks.shots import sections

        return sections.sections(cfg, experiment)
