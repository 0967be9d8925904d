"""Decoding, scoring, the report's sentences and figures, and the export: from trained systems to files."""

from __future__ import annotations

import csv
import itertools
import json
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from seqkd.cli.main import main
from seqkd.config import system_settings
from seqkd.errors import ConfigError, DataError
from seqkd.experiment.read import read_experiment
from seqkd.experiment.scores import score
from seqkd.shots.classes import SHOTS
from seqkd.shots.data import read_songs
from seqkd.shots.decoding import decode_run, read_decoded
from seqkd.shots.fusion import load_teacher
from seqkd.shots.language import FilmLanguage
from seqkd.shots.lessons import load_songs
from seqkd.shots.measures import ASC, MEASURES, summary
from seqkd.shots.metrics import score_song
from seqkd.shots.model import directory_hash, load_shot_model
from seqkd.shots.truth import Bound, Truth, write_truth
from seqkd.statistics.table import Table
from seqkd.tasks.shots import TASK
from seqkd.tasks.shots.scores import ShotsScores
from seqkd.tasks.shots.sections import below, gaps, published
from seqkd.training.order import all_runs
from tests.experiment.test_findings import experiment
from tests.shots.songs import arguments, settings, train_here

SYSTEMS = ("majority", "bigram", "student", "student_kd", "dil", "teacher_dil")
QUICK = ["training.updates=4", "training.validate_every=2", "interaction.rounds=1"]


@pytest.fixture(scope="module")
def done(songs_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment in which every system is trained, decoded and scored."""
    exp = tmp_path_factory.mktemp("done") / "exp"
    train_here(exp, songs_data, "assistant_1s", "assistant_2s", "assistant_4s", "teacher", *SYSTEMS, overrides=QUICK)
    assert main(["decode", *arguments(exp, songs_data, *QUICK)]) == 0
    assert main(["score", "--recipe", *arguments(exp, songs_data, *QUICK)]) == 0
    return exp


def of(exp: Path, system: str) -> Path:
    return exp / system / "seed0" / "decode_test"


def copied(exp: Path, place: Path) -> Path:
    shutil.copytree(exp, place)
    return place


# ---- decoding


def test_each_system_reads_songs_in_its_way(done, songs_data):
    corpus = load_songs(songs_data / "test")
    language = FilmLanguage.load(done / "majority" / "seed0" / "model" / "language.json")
    student = load_shot_model(done / "student" / "seed0" / "model")
    teacher = load_teacher(done / "teacher" / "seed0" / "model")
    for key, frames in corpus.frames.items():
        read = {name: read_decoded(of(done, name))[key] for name in ("majority", "bigram", "student", "teacher")}
        assert (read["majority"].shots == language.prior.argmax()).all()
        assert np.abs(read["student"].posteriors - student.posteriors(frames)).max() < 1e-6
        assert (read["student"].shots == read["student"].posteriors.argmax(-1)).all()
        assert (read["teacher"].shots == teacher.decode(frames)).all()
        for decoded in read.values():
            assert decoded.shots.shape == (len(frames),)
            assert np.abs(decoded.posteriors.sum(-1) - 1).max() < 1e-5
    shots = [read_decoded(of(done, "bigram"))[key].shots for key in sorted(corpus.frames)]
    assert any((a[:50] != b[:50]).any() for a, b in itertools.pairwise(shots))


def test_the_table_of_shots_is_the_decoding(done):
    decoded = read_decoded(of(done, "student"))
    with (of(done, "student") / "shots.csv").open() as file:
        rows = list(csv.DictReader(file))
    for key, song in decoded.items():
        lines = [row for row in rows if row["id"] == key]
        spelled = [row["type"] for row in lines for _ in range(int(float(row["end"]) - float(row["start"])))]
        assert spelled == [SHOTS[shot] for shot in song.shots]


def test_decoding_again_does_nothing_unless_the_model_changed(done, songs_data, tmp_path):
    exp = copied(done, tmp_path / "exp")
    file = of(exp, "student") / "decoded.safetensors"
    before = file.stat().st_mtime_ns
    decode_run(settings(exp, songs_data), exp / "student" / "seed0", "test")
    assert file.stat().st_mtime_ns == before
    shutil.copy(exp / "student_kd/seed0/model/model.safetensors", exp / "student/seed0/model/model.safetensors")
    decode_run(settings(exp, songs_data), exp / "student" / "seed0", "test")
    assert load_file(file)["song000/shots"].tolist() == read_decoded(of(exp, "student_kd"))["song000"].shots.tolist()


# ---- scoring


def test_scores_are_those_of_the_metrics(done, songs_data):
    songs = {song.id: song for song in read_songs(songs_data / "test")}
    table = Table.load(of(done, "student") / "counts.npz")
    decoded = read_decoded(of(done, "student"))
    assert table.ids == tuple(songs)
    wrong = frames = 0
    for place, (key, song) in enumerate(songs.items()):
        expected = score_song(
            song.shots, decoded[key].shots, frames=len(decoded[key].shots), posteriors=decoded[key].posteriors
        )
        one = table.part(slice(place, place + 1)).total()
        assert summary(one) == pytest.approx(summary(expected), nan_ok=True)
        truth = load_songs(songs_data / "test").classes[key]
        wrong, frames = wrong + (truth != decoded[key].shots).sum(), frames + len(truth)
    found = json.loads((of(done, "student") / "score.json").read_text())
    assert found["items"] == 4 and set(found["scores"]) == {measure.key for measure in MEASURES}
    assert found["scores"]["asc"]["value"] == pytest.approx(1 - wrong / frames)
    assert found["scores"]["director_kl"] == {"value": None, "ci95": None}


# ---- the order of stages, and damaged files


def test_what_comes_first_is_asked_for(songs_data, done, tmp_path):
    cfg = settings(tmp_path / "nothing", songs_data)
    with pytest.raises(ConfigError, match=r"has no finished model; run .*--stage teachers"):
        decode_run(cfg, tmp_path / "nothing" / "student" / "seed0", "test")
    with pytest.raises(ConfigError, match=r"has nothing decoded; run .*--stage decode"):
        score(ShotsScores(), cfg, "student", 0, "test")
    with pytest.raises(ConfigError, match=r"no finished student to export; run .*--stage students"):
        TASK.export(cfg, [])
    assert main(["report", *arguments(tmp_path / "nothing", songs_data)]) == 1
    exp = copied(done, tmp_path / "exp")
    file = of(exp, "student") / "decoded.safetensors"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"decoded.safetensors is damaged \(.*\); delete it and run .*--stage decode"):
        score(ShotsScores(), settings(exp, songs_data), "student", 0, "test")


# ---- the report


def test_results(done, songs_data, tmp_path, capsys):
    out = tmp_path / "RESULTS.md"
    assert main(["report", *arguments(done, songs_data, f"report.out={out}", "title=Tiny", *QUICK)]) == 0
    text = out.read_text(encoding="utf-8")
    assert text.startswith("# Tiny\n")
    for label in ("The commonest shot", "Assistant, 4 s", "Teacher, DIL", "Student, KD", "Student, DIL"):
        assert text.count(f"\n| {label} |") >= 3, label  # results, measures, training
    found = json.loads((of(done, "dil") / "score.json").read_text())
    assert f"| Student, DIL | {load_count(done) / 1000:.0f} k | 1 (items only) |" in text
    assert f"**{100 * found['scores']['asc']['value']:.2f}** [" in text
    assert "| Student, KD | Student, no teacher (control) |" in text
    assert "test (4 songs, 203 seconds)" in text
    assert "ttainable" not in text.split("## Settings")[0]  # no director is known for these songs
    figures = re.findall(r"!\[.+\]\((.+\.png)\)", text)
    assert {Path(name).name for name in figures} == {
        *("scores.png", "training.png", "losses.png", "rounds.png", "song.png")
    }
    assert all((tmp_path / name).stat().st_size > 3000 for name in figures)
    assert "The student has 33 % of its teacher's parameters." in text
    assert str(tmp_path) not in text and str(songs_data) not in text


def load_count(exp: Path) -> int:
    return load_shot_model(exp / "dil" / "seed0" / "model").network.parameter_count()


def test_groups_train_each_system_once(songs_data, tmp_path):
    cfg = settings(tmp_path, songs_data, "seeds=2")
    runs = all_runs(TASK, cfg, partial(system_settings, cfg))
    assert len(runs) == len(set(runs)) == 2 * 10
    order = [system for system, seed in runs if seed == 0]
    for earlier, later in (("assistant_4s", "teacher"), ("teacher", "dil"), ("dil", "teacher_dil")):
        assert order.index(earlier) < order.index(later)
    alone = settings(tmp_path, songs_data, "systems=[student]")
    assert all_runs(TASK, alone, partial(system_settings, alone)) == [("student", 0)]


def pattern(clear: bool = True, **asc: float) -> str:
    """What is said of systems of given ASC, in %; differences are clear or drown in noise."""
    made = experiment((ASC,), {name: (value / 100,) for name, value in asc.items()}, clear=clear)
    for name, system in made.systems.items():
        for run in system.runs:
            run.summary["parameters"] = 30 if name == "teacher_dil" else 10
    return "\n".join(published(made))


def test_the_published_pattern():
    text = pattern(student=50, student_kd=59, dil=59, assistant_1s=55, assistant_4s=53, teacher=54, teacher_dil=45)
    assert "**Student_Kd** has 9.00 points of ASC more than **Student** (p = .005): the paper's order holds." in text
    assert (
        "**Teacher_Dil** has 9.00 points of ASC less than **Teacher** (p = .005): the paper's order does not hold."
        in text
    )
    assert "**Teacher** is 1.00 points of ASC below its best assistant, **Assistant_1S**." in text
    assert "The student has 33 % of its teacher's parameters." in text
    unclear = pattern(clear=False, student=50, student_kd=50.5)
    assert "the paper's order holds, though no difference is shown." in unclear
    assert pattern(majority=20) == ""


def test_the_bound_is_compared_with():
    values = dict.fromkeys(Bound.__dataclass_fields__, 0.5)
    near, far = (replace(Bound(**values), drawn_accuracy=share) for share in (0.51, 0.512))
    assert (below(near, 0.49), below(far, 0.49)) == (2.0, 2.2)


def test_students_are_compared_with_what_audio_allows_where_that_is_known():
    bound = replace(Bound(**dict.fromkeys(Bound.__dataclass_fields__, 0.5)), drawn_accuracy=0.7)
    values = {"dil": (0.64,), "dil_unlabelled": (0.65,)}
    assert gaps(experiment((ASC,), values), bound)[0] == (
        "**Dil** is 6.00 points below what is attainable: not within the 2 points aimed at."
    )
    assert gaps(experiment((ASC,), values | {"from_director": (0.665,)}), bound) == [
        "**Dil** is 2.50 points below what audio allows: not within the 2 points aimed at.",
        "**Dil_Unlabelled** is 1.50 points below what audio allows: within the 2 points aimed at.",
    ]


def test_what_is_attainable_is_in_the_report(done, songs_data, tmp_path):
    """Where the director is known: made up here, for songs that have none."""
    exp, data = copied(done, tmp_path / "exp"), copied(songs_data, tmp_path / "data")
    classes = load_songs(data / "test").classes
    sure = {
        key: Truth.of(np.full(8, 1 / 8), np.tile(0.3 / 7 + (0.7 - 0.3 / 7) * np.eye(8), (len(one), 1, 1)), one)
        for key, one in classes.items()
    }
    bound = write_truth(data / "test", sure)
    out = tmp_path / "RESULTS.md"
    assert main(["report", *arguments(exp, data, f"report.out={out}", *QUICK)]) == 0
    text = out.read_text(encoding="utf-8")
    assert "## What is attainable" in text and "(figures/attainable.png)" in text
    assert f"| *The song known, each second by itself* | {100 * bound.drawn_accuracy:.2f} | 0.00 |" in text
    assert f"| *Attainable: the song known* | – | {bound.shot_length_argmax:.2f} |" in text
    # The director is evidence of the score: the divergence from it, which was unknown, is there now.
    assert json.loads((of(exp, "student") / "score.json").read_text())["scores"]["director_kl"]["value"] > 0


def test_seeds_scored_on_other_songs_are_found_out(done, tmp_path):
    exp = copied(done, tmp_path / "exp")
    about = {name: {} for name in ("student", "dil")}
    assert read_experiment(ShotsScores(), exp, about, ["test"]).finished.keys() == about.keys()
    counts = of(exp, "dil") / "counts.npz"
    Table.load(counts).part(slice(-1)).save(counts)
    with pytest.raises(DataError, match=r"were scored on different songs; run .*--stage decode"):
        read_experiment(ShotsScores(), exp, about, ["test"])
    (of(exp, "student") / "counts.npz").unlink()
    assert read_experiment(ShotsScores(), exp, about, ["test"]).systems["student"].unfinished == [0]


# ---- export


def test_the_exported_student_is_the_one_with_the_least_dev_error(done, songs_data, tmp_path, capsys):
    exp = copied(done, tmp_path / "an exp")
    shutil.copytree(exp / "dil" / "seed0", exp / "dil" / "seed1")
    weights = exp / "student_kd/seed0/model/model.safetensors"
    shutil.copy(weights, exp / "dil/seed1/model/model.safetensors")
    summary = json.loads((exp / "dil/seed1/summary.json").read_text())
    (exp / "dil/seed1/summary.json").write_text(json.dumps(summary | {"best_dev_error": 0.0}))
    assert main(["export", *arguments(exp, songs_data, "seeds=2")]) == 0
    assert (exp / "model" / "model.safetensors").read_bytes() == weights.read_bytes()
    assert directory_hash(exp / "model") == directory_hash(exp / "dil" / "seed1" / "model")
    said = capsys.readouterr().out
    assert f"seqkd shots SONG -o cut.otio --model '{exp.resolve()}/model'" in said
