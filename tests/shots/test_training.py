"""Training: batches, phases, and rounds; what comes first, and what does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from seqkd.errors import ConfigError, DataError, SeqkdError
from seqkd.knowledge import Book
from seqkd.layout import working_in
from seqkd.shots.data import frame_classes
from seqkd.shots.fusion import load_teacher
from seqkd.shots.lessons import SongSet, draw, lessons, load_songs
from seqkd.shots.model import ShotNetwork, directory_hash, load_shot_model
from seqkd.shots.rates import averaged
from seqkd.shots.targets import read_targets, write_targets
from seqkd.tasks.shots import TASK
from seqkd.tasks.shots.interactive import all_rounds
from seqkd.tasks.shots.work import ShotData, SongWork
from seqkd.training.study import Fitted, Study
from tests.shots.songs import CLASSES, FEATURES, settings, train_here, write_set

# ---- lessons


def test_lessons_at_each_rate(songs_data):
    corpus = load_songs(songs_data / "train")
    rng = np.random.default_rng(0)
    soft = {key: rng.dirichlet(np.ones(CLASSES), len(frames)) for key, frames in corpus.frames.items()}
    for seconds in (1, 2, 4):
        for key, lesson in zip(corpus.tracks, lessons(corpus, seconds, soft), strict=True):
            frames = corpus.frames[key]
            slow = -(-len(frames) // seconds)
            assert lesson.frames.shape == (slow, FEATURES) and lesson.soft.shape == (slow, CLASSES)
            np.testing.assert_allclose(lesson.frames[-1], frames[(slow - 1) * seconds :].mean(0), rtol=1e-5)
            np.testing.assert_allclose(lesson.soft, averaged(soft[key], seconds), atol=1e-6)
            expected = frame_classes(corpus.shots[key], slow, seconds)
            assert lesson.classes.tolist() == expected.tolist()


def test_a_batch_is_a_function_of_seed_and_update(songs_data):
    known = lessons(load_songs(songs_data / "train"))
    one, same, later, other = (
        draw(known, batch=4, window=20, seed=seed, update=update) for seed, update in ((1, 5), (1, 5), (1, 6), (2, 5))
    )
    assert one.frames.shape == (4, 20, FEATURES) and one.soft is None
    assert one.frames.equal(same.frames) and one.classes.equal(same.classes)
    assert not one.frames.equal(later.frames) and not one.frames.equal(other.frames)


def test_pieces_are_pieces_and_stay_aligned(songs_data):
    corpus = load_songs(songs_data / "train")
    soft = {key: np.eye(CLASSES)[classes] for key, classes in corpus.classes.items()}
    known = lessons(corpus, 1, soft)
    batch = draw(known, batch=8, window=30, seed=0, update=0)
    assert batch.soft.argmax(-1).equal(batch.classes)
    for frames in batch.frames:
        assert any((song.frames.unfold(0, 30, 1).transpose(1, 2) == frames).all((1, 2)).any() for song in known)


def test_short_songs_shorten_the_batch_and_few_songs_are_repeated(songs_data):
    known = lessons(load_songs(songs_data / "train"))
    assert draw(known, batch=4, window=1000, seed=0, update=0).frames.shape[1] == 50
    assert draw(known[:2], batch=5, window=10, seed=0, update=0).frames.shape == (5, 10, FEATURES)


# ---- one phase


def study_of(exp: Path, data: Path, *overrides: str) -> Study:
    return Study(TASK, settings(exp, data, *overrides))


PHASE = ["system=student", "model.sizes=[12,8]", "training.updates=60", "training.validate_every=10"]
PHASE += ["training.batch=8", "training.window=30", "seed=3"]


def phase(exp: Path, data: Path, *overrides: str) -> tuple[ShotNetwork, Fitted]:
    study = study_of(exp, data, *PHASE, *overrides)
    songs = ShotData(study.cfg)
    model = songs.fresh_model(songs.train)
    return model.network, study.fit(SongWork(songs, songs.train, model, seed=3), phase="phases/0", seed=3)


def error_of(network: ShotNetwork, songs: SongSet) -> float:
    """The share of wrong seconds, counted by hand."""
    wrong = frames = 0
    network.eval()
    for key, classes in songs.classes.items():
        with torch.no_grad():
            said = network(torch.from_numpy(songs.frames[key])[None])[0].argmax(-1).numpy()
        wrong, frames = wrong + int((said != classes).sum()), frames + len(classes)
    return wrong / frames


def test_it_learns_and_keeps_what_does_best_on_dev(songs_data, tmp_path):
    network, fitted = phase(tmp_path, songs_data)
    history = fitted.history
    errors = [row["dev_error"] for row in history]
    assert [row["step"] for row in history] == [10, 20, 30, 40, 50, 60]
    assert error_of(network, load_songs(songs_data / "dev")) == pytest.approx(min(errors))
    assert fitted.value == pytest.approx(min(errors)) and min(errors) < errors[0]
    assert history[-1]["train"]["total"] < history[0]["train"]["total"] / 1.5
    assert min(errors) < 0.6  # chance is 7/8
    place = tmp_path / "student" / "seed3" / "phases" / "0"
    assert sorted(path.name for path in place.iterdir()) == ["history.json", "weights.safetensors"]
    again, read = phase(tmp_path, songs_data)
    assert read == fitted and all(again.state_dict()[k].equal(v) for k, v in network.state_dict().items())


def test_a_damaged_state_starts_the_phase_again(songs_data, tmp_path):
    whole, _ = phase(tmp_path / "whole", songs_data)
    checkpoints = tmp_path / "other" / "student" / "seed3" / "phases" / "0" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "resume-step=20.ckpt").write_bytes(b"PK\x03\x04 torn")
    other, _ = phase(tmp_path / "other", songs_data)
    assert all(other.state_dict()[k].equal(v) for k, v in whole.state_dict().items())


def test_a_loss_that_runs_away_is_one_sentence(songs_data, tmp_path):
    with pytest.raises(SeqkdError, match=r"the training loss is not finite by update .* lower training.lr"):
        phase(tmp_path, songs_data, "training.lr=1e37", "training.gradient_clip=0")


# ---- targets


def test_targets_are_refused_when_they_are_another_teachers(tmp_path):
    beliefs = {"a": np.full((3, CLASSES), 1 / CLASSES)}
    songs, others = (SimpleNamespace(fingerprint=name, shots={"a": ()}) for name in ("these", "others"))
    with pytest.raises(DataError, match="is no book"):
        read_targets(tmp_path, teacher="t", songs=songs)
    write_targets(tmp_path, beliefs, teacher="t", songs=songs)
    assert np.abs(read_targets(tmp_path, teacher="t", songs=songs)["a"] - 1 / CLASSES).max() < 1e-4
    for teacher, of in (("u", songs), ("t", others)):
        with pytest.raises(ConfigError, match=r"the book .* has .* and the student .*; "):
            read_targets(tmp_path, teacher=teacher, songs=of)
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(DataError, match=r"\.safetensors"):
        read_targets(tmp_path, teacher="t", songs=songs)
    write_targets(tmp_path, {"a": np.eye(CLASSES)}, teacher="u", songs=others)  # another's are written over
    assert np.abs(read_targets(tmp_path, teacher="u", songs=others)["a"] - np.eye(CLASSES)).max() < 1e-4


# ---- systems


def summary(run: Path) -> dict:
    return json.loads((run / "summary.json").read_text())


def test_the_teacher_is_its_assistants(songs_data, shots_exp):
    teacher = load_teacher(shots_exp / "teacher" / "seed0" / "model")
    one = load_shot_model(shots_exp / "assistant_1s" / "seed0" / "model")
    frames = load_songs(songs_data / "test").frames["song000"]
    assert (teacher.assistants[0].posteriors(frames) == one.posteriors(frames)).all()
    assert [model.seconds for model in teacher.assistants] == [1, 2, 4]
    assert summary(shots_exp / "teacher" / "seed0")["parameters"] == 3 * one.network.parameter_count()
    corpus = load_songs(songs_data / "train")
    stored = read_targets(
        shots_exp / "teacher" / "seed0" / "targets",
        teacher=directory_hash(shots_exp / "teacher" / "seed0" / "model"),
        songs=corpus,
    )
    for key, frames in corpus.frames.items():
        assert np.abs(stored[key] - teacher.posteriors(frames)).max() < 2e-3  # 16 bits


def copied(shots_exp: Path, place: Path) -> Path:
    shutil.copytree(shots_exp, place)
    return place


def test_students_have_equal_budgets_and_one_beginning(songs_data, shots_exp, tmp_path):
    exp = copied(shots_exp, tmp_path / "exp")
    student, taught, dil, last = train_here(exp, songs_data, "student", "student_kd", "dil", "teacher_dil")
    assert summary(student)["steps"] == summary(taught)["steps"] == 36
    assert summary(dil)["steps"] == 12 * len(summary(dil)["rounds"]) <= 36
    configs = [yaml.safe_load((run / "config.yaml").read_text()) for run in (student, taught)]
    for key in ("model", "training", "data", "seed", "features"):
        assert configs[0][key] == configs[1][key]
    assert configs[0]["made_from"] == {}
    assert configs[1]["made_from"] == {"teacher": directory_hash(exp / "teacher" / "seed0" / "model")}
    hard, soft = (json.loads((run / "history.json").read_text())["rows"] for run in (student, taught))
    assert all("kd" not in row["train"] for row in hard) and all(row["train"]["kd"] > 0 for row in soft)
    assert [row["step"] for row in hard] == [4, 8, 12, 16, 20, 24, 28, 32, 36]
    kept = load_shot_model(student / "model").network
    least = min(row["dev_error"] for row in hard)
    assert error_of(kept, load_songs(songs_data / "dev")) == pytest.approx(least) == summary(student)["best_dev_error"]
    rounds = summary(dil)["rounds"]
    parts = {"student", "teacher", "assistant_1s", "assistant_2s", "assistant_4s", "seconds"}
    assert all(set(row) == parts for row in rounds)
    assert rounds[0]["assistant_2s"] == summary(exp / "assistant_2s" / "seed0")["best_dev_error"]
    assert not (dil / "phases").exists() and not (student / "phases").exists()
    # Its last teacher is that of the round that was kept.
    assert directory_hash(last / "model") == directory_hash(dil / "teacher")
    assert summary(last)["best_dev_error"] == rounds[summary(dil)["round"]]["teacher"]
    assert summary(dil)["best_dev_error"] == min(row["student"] for row in rounds)


@pytest.mark.parametrize("restart", [False, True])
def test_a_round_is_the_student_teaching_its_teachers_and_they_the_student(songs_data, shots_exp, tmp_path, restart):
    exp = copied(shots_exp, tmp_path / "exp")
    study = study_of(exp, songs_data, "system=dil", f"interaction.restart={restart}")
    data = ShotData(study.cfg)
    rounds = all_rounds(study, data, load_teacher(exp / "teacher" / "seed0" / "model"))
    first, second = next(rounds), next(rounds)
    place = study.directory / "phases" / "round1"
    frames = data.train.frames["song000"]
    terms = lambda name: json.loads((place / name / "history.json").read_text())["history"][0]["train"]  # noqa: E731
    for name in ("assistant_1s", "assistant_2s", "assistant_4s", "student"):
        assert terms(name)["kd"] > 0 and terms(name)["labels"] > 0
    # The student of round 0 teaches the assistants, they are the teacher of round 1, and it teaches the student.
    stored = {name: Book.open(place / name).read("song000").probs().numpy() for name in ("student_targets", "targets")}
    assert np.abs(stored["student_targets"] - first.student.posteriors(frames)).max() < 2e-3  # 16 bits
    assert np.abs(stored["targets"] - second.teacher.posteriors(frames)).max() < 2e-3
    for n, before, now in zip((1, 2, 4), first.teacher.assistants, second.teacher.assistants, strict=True):
        weights, old = load_file(place / f"assistant_{n}s" / "weights.safetensors"), before.network.state_dict()
        assert all(now.network.state_dict()[name].equal(value) for name, value in weights.items())
        assert any(not old[name].equal(value) for name, value in weights.items())
    assert second.teacher.co_occurrence is first.teacher.co_occurrence  # of inputs and hard labels alone
    assert second.errors["student"] == pytest.approx(error_of(second.student.network, data.dev))


def test_interaction_without_rounds_is_plain_distillation(songs_data, shots_exp, tmp_path):
    exp = copied(shots_exp, tmp_path / "exp")
    runs = train_here(exp, songs_data, "student_kd", "dil", overrides=["interaction.rounds=0"])
    one, other = (load_file(run / "model" / "model.safetensors") for run in runs)
    assert all(one[name].equal(other[name]) for name in one)
    assert directory_hash(runs[1] / "teacher") == directory_hash(exp / "teacher" / "seed0" / "model")


def test_interaction_ends_when_dev_error_no_longer_falls(songs_data, shots_exp, tmp_path):
    exp = copied(shots_exp, tmp_path / "exp")
    options = ["interaction.rounds=9", "training.updates=4", "interaction.patience=2"]
    train_here(exp, songs_data, "assistant_1s", "assistant_2s", "assistant_4s", "teacher", overrides=options)
    (dil,) = train_here(exp, songs_data, "dil", overrides=options)
    errors = [row["student"] for row in summary(dil)["rounds"]]
    best = errors.index(min(errors))
    assert summary(dil)["round"] == best
    assert len(errors) == 10 or len(errors) - 1 - best == 2  # every earlier stretch without progress was shorter
    for end in range(1, len(errors)):
        assert end - int(np.argmin(errors[:end])) <= 2


def test_finished_runs_are_skipped_and_changed_ones_trained_anew(songs_data, shots_exp, tmp_path):
    exp = copied(shots_exp, tmp_path / "exp")
    model = exp / "assistant_2s" / "seed0" / "model" / "model.safetensors"
    before = model.stat().st_mtime_ns
    train_here(exp, songs_data, "assistant_2s")
    assert model.stat().st_mtime_ns == before
    train_here(exp, songs_data, "assistant_2s", overrides=["training.lr=1e-3"])
    assert model.stat().st_mtime_ns != before
    # The teacher is another now, and so is what was learned from it.
    old = directory_hash(exp / "teacher" / "seed0" / "model")
    train_here(exp, songs_data, "teacher")
    assert directory_hash(exp / "teacher" / "seed0" / "model") != old


def test_changed_songs_train_anew(tmp_path):
    for name in ("train", "dev"):
        write_set(tmp_path / "data", name, 3, 30)
    (run,) = train_here(tmp_path / "exp", tmp_path / "data", "majority")
    before = (run / "summary.json").stat().st_mtime_ns
    train_here(tmp_path / "exp", tmp_path / "data", "majority")
    assert (run / "summary.json").stat().st_mtime_ns == before
    shutil.rmtree(tmp_path / "data" / "train")
    shutil.rmtree(tmp_path / "data" / "audio" / "train")
    write_set(tmp_path / "data", "train", 4, 30)
    train_here(tmp_path / "exp", tmp_path / "data", "majority")
    assert (run / "summary.json").stat().st_mtime_ns != before


def test_what_comes_first_is_asked_for(songs_data, tmp_path):
    for system, needed in {
        "teacher": "assistant_1s",
        "student_kd": "teacher",
        "dil": "teacher",
        "teacher_dil": "dil",
    }.items():
        says = rf"{needed}/seed0 has no finished model, and {system} needs it; run ./run.sh --stage teachers"
        with pytest.raises(ConfigError, match=says):
            train_here(tmp_path, songs_data, system)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("training.updates=0", "training.updates is 0; expected at least 1"),
        ("training.lr=0", "training.lr is 0; expected more than 0"),
        ("system.objective.kd.temperature=0", "setting system.objective.kd.temperature is 0; expected more than 0"),
        ("system.objective.kd.weight=-1", "setting system.objective.kd.weight is -1; expected at least 0"),
        ("interaction.rounds=-1", "interaction.rounds is -1; expected at least 0"),
        ("model.sizes=[]", r"model.sizes is \[\]; expected a whole number of at least 1 for each layer"),
        ("interaction.patience=0", "interaction.patience is 0; expected at least 1"),
        ("teacher.codes=500", "fewer than the 500 codes of the teacher"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(songs_data, shots_exp, tmp_path, override, says):
    exp = copied(shots_exp, tmp_path / "exp")
    system = "teacher" if override.startswith("teacher") else "dil"
    with pytest.raises((ConfigError, DataError), match=says) as caught:
        train_here(exp, songs_data, system, overrides=[override])
    assert "\n" not in str(caught.value)


def test_two_processes_do_not_share_a_run(tmp_path):
    with (
        working_in(tmp_path / "run", {"a": 1}),
        pytest.raises(SeqkdError, match="another process is at work"),
        working_in(tmp_path / "run", {"a": 1}),
    ):
        pass
