"""Teachers of more songs than their students, songs of which only the audio is used, and what audio allows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from seqkd.errors import DataError
from seqkd.losses import CrossEntropy, Objective
from seqkd.losses.outputs import IGNORE
from seqkd.shots.lessons import load_songs
from seqkd.shots.model import directory_hash, load_shot_model
from seqkd.shots.targets import read_targets
from seqkd.shots.truth import Truth, write_truth
from seqkd.tasks.shots.work import ShotData, SongWork
from tests.shots.songs import CLASSES, chain, settings, train_here, write_set

MORE = ["sets.teacher=[train,more]", "unlabelled=[more]"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A few songs of a student, more of the teacher, and dev."""
    folder = tmp_path / "data"
    for seed, (name, count) in enumerate({"train": 4, "more": 9, "dev": 3}.items()):
        write_set(folder, name, count, 40, seed=seed, prefix=name)
    return folder


def forget_shots(data: Path, name: str) -> None:
    (data / name / "shots.csv").unlink()


def of(data: Path, system: str, *overrides: str) -> ShotData:
    return ShotData(settings(data.parent / "exp", data, f"system={system}", *overrides))


def test_who_learns_from_which_songs(data):
    few, more = load_songs(data / "train"), load_songs(data / "more")
    taught = of(data, "student_kd_unlabelled", *MORE)
    assert taught.teachers.tracks.keys() == few.tracks.keys() | more.tracks.keys()
    assert taught.students.tracks.keys() == taught.teachers.tracks.keys()
    for key, classes in taught.students.classes.items():
        known = few.classes.get(key)
        np.testing.assert_array_equal(classes, np.full(len(classes), IGNORE) if known is None else known)
    assert of(data, "student_kd", *MORE).students is not None
    assert of(data, "student_kd", *MORE).students.fingerprint == few.fingerprint
    assert of(data, "student").teachers.fingerprint == of(data, "student").train.fingerprint == few.fingerprint


def test_film_language_and_statistics_are_of_the_songs_learned_from(data):
    both = of(data, "assistant_1s", *MORE)
    counts = [classes for name in ("train", "more") for classes in load_songs(data / name).classes.values()]
    pairs = np.zeros((CLASSES, CLASSES))
    for classes in counts:
        np.add.at(pairs, (classes[:-1], classes[1:]), 1)
    language = both.language(both.teachers)
    np.testing.assert_allclose(language.transition, (pairs + 1) / (pairs + 1).sum(-1, keepdims=True))
    frames = np.concatenate(list(both.teachers.frames.values())).astype(float)
    model = both.fresh_model(both.teachers)
    np.testing.assert_allclose(model.network.feature_mean, frames.mean(0), rtol=1e-5)


def test_the_shots_of_unlabelled_songs_play_no_part(data):
    before = of(data, "student_kd_unlabelled", *MORE[1:]).students
    forget_shots(data, "more")
    after = of(data, "student_kd_unlabelled", *MORE[1:]).students
    assert before.fingerprint == after.fingerprint and before.shots == after.shots
    with pytest.raises(DataError, match=r"more has no shots.csv, but is used as a labelled set"):
        _ = of(data, "assistant_1s", *MORE).teachers


def test_one_song_in_two_sets_is_refused(data):
    write_set(data, "again", 2, 40, seed=9, prefix="train")
    with pytest.raises(DataError, match="song 'train000' is in two sets that are used together"):
        _ = of(data, "assistant_1s", "sets.teacher=[train,again]").teachers
    with pytest.raises(DataError, match="song 'train000' is in two sets"):
        _ = of(data, "student_kd_unlabelled", "unlabelled=[again]").students


def test_labels_teach_nothing_about_unlabelled_songs(data):
    """The cross-entropy and its gradient are those of the labelled songs alone."""
    songs = of(data, "student_kd_unlabelled", *MORE)
    model = songs.fresh_model(songs.train)
    soft = {key: np.full((len(frames), CLASSES), 1 / CLASSES) for key, frames in songs.students.frames.items()}
    work = SongWork(songs, songs.students, model, soft, seed=0)
    objective, model.network = Objective(labels=CrossEntropy()), model.network.eval()
    total, count = torch.zeros(()), 0
    for lesson in work.known:
        batch = type(lesson)(lesson.frames[None], lesson.classes[None], lesson.soft[None])
        loss = objective(work.outputs(model.network, batch), {}, work.labels(batch), 1.0).total
        if (lesson.classes == IGNORE).all():
            assert float(loss.detach()) == 0.0
            loss.backward()
            assert all(p.grad is None or not p.grad.any() for p in model.network.parameters())
        else:
            total, count = total + loss.detach(), count + 1
    assert count == 4 and total > 0


def test_every_system_trains(data):
    exp = data.parent / "exp"
    systems = ["student_kd", "dil", "student_kd_unlabelled", "dil_unlabelled"]
    forget = [*MORE, f"systems=[{','.join(systems)}]"]
    for system in ("assistant_1s", "assistant_2s", "assistant_4s", "teacher", *systems):
        train_here(exp, data, system, overrides=forget)
    few, more = load_songs(data / "train"), load_songs(data / "more", labelled=False)
    about = lambda name: json.loads((exp / name / "seed0" / "summary.json").read_text())  # noqa: E731
    assert about("assistant_1s")["songs"] == about("student_kd_unlabelled")["songs"] == 13
    assert about("student_kd")["songs"] == 4
    teacher = exp / "teacher" / "seed0"
    mark = directory_hash(teacher / "model")
    assert read_targets(teacher / "targets", teacher=mark, songs=few).keys() == few.tracks.keys()
    assert read_targets(teacher / "targets_unlabelled", teacher=mark, songs=more).keys() == more.tracks.keys()
    songs = dict(load_songs(data / "dev").frames)
    one, other = (load_shot_model(exp / name / "seed0" / "model") for name in ("student_kd", "student_kd_unlabelled"))
    assert any(not np.allclose(one.posteriors(f), other.posteriors(f)) for f in songs.values())


def test_what_audio_allows_learns_from_the_director(data):
    language = chain()
    for name in ("train", "more"):
        truths = {}
        for key, classes in load_songs(data / name).classes.items():
            steps = np.broadcast_to(language.transition, (len(classes), CLASSES, CLASSES)).copy()
            truths[key] = Truth.of(language.initial, steps, classes)
        write_truth(data / name, truths)
    exp = data.parent / "exp"
    options = [*MORE, "training.updates=60", "training.validate_every=20"]
    train_here(exp, data, "from_director", overrides=options)
    # This director does not listen: whatever is heard, each shot is as likely as the others.
    model = load_shot_model(exp / "from_director" / "seed0" / "model")
    for frames in load_songs(data / "dev").frames.values():
        np.testing.assert_allclose(model.posteriors(frames), 1 / CLASSES, atol=0.06)
    (data / "more" / "director.safetensors").unlink()
    with pytest.raises(DataError, match="only made-up concerts have a known director"):
        train_here(exp, data, "from_director", overrides=[*MORE, "seed=1"])
