"""Decoding, scoring, the report's sentences and figures, and the export: from trained systems to files."""

from __future__ import annotations

import csv
import itertools
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from seqkd.cli.main import main
from seqkd.errors import ConfigError, DataError, SeqkdError
from seqkd.shots.classes import SHOTS
from seqkd.shots.data import read_songs
from seqkd.shots.decoding import decode_run, read_decoded
from seqkd.shots.experiment import Comparison, Experiment, Run, System, compare, read_experiment
from seqkd.shots.findings import aims
from seqkd.shots.fusion import load_teacher
from seqkd.shots.language import FilmLanguage
from seqkd.shots.lessons import load_songs
from seqkd.shots.metrics import score_song
from seqkd.shots.model import directory_hash, load_shot_model
from seqkd.shots.scoring import check_expected, read_sums, score_run
from seqkd.tasks.shots import TASK
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
    decode_run(settings(exp, songs_data), "student", 0, "test")
    assert file.stat().st_mtime_ns == before
    shutil.copy(exp / "student_kd/seed0/model/model.safetensors", exp / "student/seed0/model/model.safetensors")
    decode_run(settings(exp, songs_data), "student", 0, "test")
    assert load_file(file)["song000/shots"].tolist() == read_decoded(of(exp, "student_kd"))["song000"].shots.tolist()


# ---- scoring


def test_scores_are_those_of_the_metrics(done, songs_data):
    songs = {song.id: song for song in read_songs(songs_data / "test")}
    sums = read_sums(of(done, "student") / "score.safetensors")
    decoded = read_decoded(of(done, "student"))
    wrong = frames = 0
    for key, song in songs.items():
        expected = score_song(
            song.shots, decoded[key].shots, frames=len(decoded[key].shots), posteriors=decoded[key].posteriors
        )
        assert expected.summary() == pytest.approx(sums[key].summary(), nan_ok=True)
        truth = load_songs(songs_data / "test").classes[key]
        wrong, frames = wrong + (truth != decoded[key].shots).sum(), frames + len(truth)
    found = json.loads((of(done, "student") / "score.json").read_text())
    assert found["asc"] == pytest.approx(1 - wrong / frames) and found["director_kl"] is None and found["songs"] == 4


def test_what_a_preset_promises_is_checked(done, songs_data, capsys):
    check_expected(settings(done, songs_data, "+report.expect.student=1"))
    assert "ASC, must be at least 1 %: reached" in capsys.readouterr().out
    with pytest.raises(SeqkdError, match=r"student has [\d.]+ % ASC on test; this preset must reach 99 %"):
        check_expected(settings(done, songs_data, "+report.expect.student=99"))
    with pytest.raises(SeqkdError, match=r"score.json is missing; run stage 7"):
        check_expected(settings(done, songs_data, "+report.expect.nobody=1"))
    with pytest.raises(ConfigError, match=r"report\.expect_metric is 'ds'; expected one of asc, "):
        check_expected(settings(done, songs_data, "report.expect_metric=ds"))


# ---- the order of stages, and damaged files


def test_what_comes_first_is_asked_for(songs_data, done, tmp_path):
    cfg = settings(tmp_path / "nothing", songs_data)
    with pytest.raises(ConfigError, match="has no finished model; run stages 2 to 5 first"):
        decode_run(cfg, "student", 0, "test")
    with pytest.raises(DataError, match="has nothing decoded; run stage 6"):
        score_run(cfg, "student", 0, "test")
    with pytest.raises(ConfigError, match=r"no finished student to export; run ./run.sh --stage students"):
        TASK.export(cfg)
    assert main(["report", *arguments(tmp_path / "nothing", songs_data)]) == 1
    exp = copied(done, tmp_path / "exp")
    for name, says in {
        "decoded.safetensors": r"decoded.safetensors is damaged \(.*\); delete it and run stage 6 again",
        "score.safetensors": r"score.safetensors is missing or damaged \(.*\); run stage 7 \(score\) again",
    }.items():
        file = of(exp, "student") / name
        file.write_bytes(file.read_bytes()[:-20])
        with pytest.raises(DataError, match=says):
            (read_sums if "score" in name else lambda path: read_decoded(path.parent))(file)


def test_a_gpu_is_refused(songs_data, tmp_path):
    with pytest.raises(ConfigError, match="music2shot trains on the CPU"):
        train_here(tmp_path, songs_data, "majority", overrides=["ngpu=1"])


# ---- the report


def test_results(done, songs_data, tmp_path, capsys):
    out = tmp_path / "RESULTS.md"
    assert main(["report", *arguments(done, songs_data, f"report.out={out}", "title=Tiny", *QUICK)]) == 0
    text = out.read_text(encoding="utf-8")
    assert text.startswith("# Tiny\n")
    for label in ("The commonest shot", "Assistant, 4 s", "Teacher, DIL", "Student, KD", "Student, DIL"):
        assert text.count(f"\n| {label} |") == 3  # results, measures, training
    found = json.loads((of(done, "dil") / "score.json").read_text())
    assert f"| Student, DIL | {load_count(done) / 1000:.0f} k | 1 |" in text
    assert f"**{100 * found['asc']:.2f}** [" in text
    assert "ttainable" not in text.split("## Settings")[0]  # no director is known for these songs
    figures = re.findall(r"!\[.+\]\((.+\.png)\)", text)
    assert {Path(name).name for name in figures} == {"accuracy.png", "rounds.png", "song.png"}
    assert all((tmp_path / name).stat().st_size > 3000 for name in figures)
    assert "The student has 33 % of its teacher's parameters." in text
    assert str(tmp_path) not in text and str(songs_data) not in text


def load_count(exp: Path) -> int:
    return load_shot_model(exp / "dil" / "seed0" / "model").network.parameter_count()


def scored(right: list[int], frames: int = 100) -> dict:
    """A song for each number of right frames: CU throughout, MCU where wrong."""
    truth = np.zeros(frames, int)
    return {
        f"song{n}": score_song([*_shots(truth)], np.where(np.arange(frames) < good, 0, 1), frames=frames)
        for n, good in enumerate(right)
    }


def _shots(classes: np.ndarray):
    from seqkd.shots.data import shots_of

    return shots_of(classes)


def system(name: str, right: list[int], parameters: int = 10, control: str | None = None, **summary) -> System:
    found = {"parameters": parameters, "steps": 10, **summary}
    return System(name, name.upper(), control, "the idea", [Run(0, {}, [], found, scored(right))], [])


def sentences(**right: list[int]) -> str:
    about = {
        "student_kd": {"control": "student"},
        "dil": {"control": "student_kd", "rounds": [{}, {}], "round": 1},
        "teacher_dil": {"control": "teacher", "parameters": 30},
    }
    systems = {name: system(name, values, **about.get(name, {})) for name, values in right.items()}
    experiment = Experiment(systems)
    pairs = [(name, one.control) for name, one in systems.items() if one.control]
    return "\n".join(aims(experiment, None, compare(experiment, [*pairs, ("dil", "student")], replicates=999, seed=0)))


def test_sentences_follow_the_numbers():
    songs = [50, 52, 54, 56, 58, 60, 62, 64]
    better, worse = ([value + step for value in songs] for step in (9, -9))
    said = sentences(student=songs, student_kd=better, dil=better, teacher=songs, teacher_dil=worse)
    assert "**STUDENT_KD** has 9.00 points of ASC more than **STUDENT** (p = .002): the paper's order holds" in said
    assert "a gain from the idea is shown" in said
    assert (
        "**DIL** has 0.00 points of ASC more than **STUDENT_KD** (p = 1.000): the paper's order holds, no diff" in said
    )
    assert "**TEACHER_DIL** has 9.00 points of ASC less than **TEACHER** (p = .002): the paper's order does not" in said
    assert "a loss from the idea is shown" in said
    assert "The student has 33 % of its teacher's parameters." in said
    assert "From one seed only" in said


def test_the_bound_is_compared_with():
    from seqkd.shots.truth import Bound

    values = dict.fromkeys(Bound.__dataclass_fields__, 0.5)
    experiment = Experiment({"dil": system("dil", [49] * 3, rounds=[{}], round=0)})
    near, far = (replace(Bound(**values), drawn_accuracy=share) for share in (0.51, 0.512))
    assert "2.00 points below what is attainable: within the 2 points" in "\n".join(aims(experiment, near, {}))
    assert "2.20 points below what is attainable: not within the 2" in "\n".join(aims(experiment, far, {}))


def test_comparisons_are_corrected_together():
    songs = list(range(50, 58))
    systems = {
        "a": system("a", songs),
        "b": system("b", [x + 5 for x in songs]),
        "c": system("c", [songs[0] + 1, *songs[1:]]),
    }
    found = compare(Experiment(systems), [("b", "a"), ("c", "a"), ("b", "a")], replicates=2000, seed=0)
    assert list(found) == [("b", "a"), ("c", "a")]
    assert found["b", "a"] == Comparison(pytest.approx(5.0), pytest.approx(2 / 2001), True)
    assert found["c", "a"].p_value > 0.5 and not found["c", "a"].survives


def test_seeds_scored_on_other_songs_are_found_out(done, songs_data, tmp_path):
    exp = copied(done, tmp_path / "exp")
    about = {name: {} for name in ("student", "dil")}
    assert read_experiment(exp, about, ["test"]).finished.keys() == about.keys()
    sums = read_sums(of(exp, "dil") / "score.safetensors")
    from seqkd.shots.scoring import write_sums

    write_sums(of(exp, "dil") / "score.safetensors", dict(list(sums.items())[:-1]))
    with pytest.raises(DataError, match="were scored on different songs; run stages 6 and 7 again"):
        read_experiment(exp, about, ["test"])
    (of(exp, "student") / "score.safetensors").unlink()
    assert read_experiment(exp, {"student": {}}, ["test"]).systems["student"].unfinished == [0]


# ---- export


def test_the_exported_student_is_the_one_with_the_least_dev_error(done, songs_data, tmp_path, capsys):
    exp = copied(done, tmp_path / "an exp")
    shutil.copytree(exp / "dil" / "seed0", exp / "dil" / "seed1")
    weights = exp / "student_kd/seed0/model/model.safetensors"
    shutil.copy(weights, exp / "dil/seed1/model/model.safetensors")
    summary = json.loads((exp / "dil/seed1/summary.json").read_text())
    (exp / "dil/seed1/summary.json").write_text(json.dumps(summary | {"dev_error": 0.0}))
    assert main(["prepare", "export", *arguments(exp, songs_data, "seeds=2")]) == 0
    assert (exp / "model" / "model.safetensors").read_bytes() == weights.read_bytes()
    assert directory_hash(exp / "model") == directory_hash(exp / "dil" / "seed1" / "model")
    said = capsys.readouterr().out
    assert f"seqkd shots SONG -o cut.otio --model '{exp.resolve()}/model'" in said
