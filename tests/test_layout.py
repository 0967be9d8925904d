"""What becomes of a run whose settings have changed."""

import logging
from pathlib import Path

import pytest

from seqkd.cli.main import main
from seqkd.experiment.files import seed_directories
from seqkd.layout import MARKER, is_done, moved_aside, put_aside, working_in


def run(directory: Path, *, finish: bool = True, **description: int) -> None:
    with working_in(directory, description):
        (directory / "weights").write_text(str(description))
        if finish:
            (directory / "summary.json").write_text("{}")


def test_a_finished_run_of_other_settings_is_moved_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    seed = tmp_path / "student" / "seed0"
    caplog.set_level(logging.INFO, "seqkd")
    for rate in (1, 2, 3):
        run(seed, rate=rate)
    assert is_done(seed, {"rate": 3})
    assert {path.name: (path / "weights").read_text() for path in moved_aside(tmp_path)} == {
        "seed0.1": "{'rate': 1}",
        "seed0.2": "{'rate': 2}",
    }
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert f"{seed} was made with other settings or data: kept as {seed}.2" in said[1]
    assert seed_directories(seed.parent) == [(0, seed)]


def test_the_same_settings_move_nothing(tmp_path: Path):
    run(tmp_path / "seed0", rate=1)
    run(tmp_path / "seed0", rate=1)
    assert moved_aside(tmp_path) == []
    assert [path.name for path in tmp_path.glob("seed*")] == ["seed0"]


def test_an_unfinished_run_of_other_settings_is_removed(tmp_path: Path):
    run(tmp_path / "seed0", rate=1, finish=False)
    (tmp_path / "seed0" / "resume-step=1.ckpt").write_text("")
    run(tmp_path / "seed0", rate=2, finish=False)
    assert [path.name for path in tmp_path.glob("seed*")] == ["seed0"]
    assert sorted(path.name for path in (tmp_path / "seed0").iterdir()) == ["config.yaml", "weights"]


def test_clean_lists_and_removes_what_was_moved_aside_alone(tmp_path: Path, capsys: pytest.CaptureFixture):
    seed = tmp_path / "exp" / "kd" / "seed0"
    for rate in (1, 2):
        run(seed, rate=rate)
    for other in (seed.with_name("seed0.7"), seed.with_name("seed0.old"), seed.with_name("seed0.1x")):
        other.mkdir()  # a user's own
    command = ["clean", "--exp", str(tmp_path / "exp")]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{seed}.1 (0.0 MB)\n1 in all, 0.0 MB; ")
    assert seed.with_name("seed0.1").is_dir()
    assert main([*command, "--yes"]) == 0
    assert capsys.readouterr().out == f"{seed}.1 (0.0 MB) removed\n"
    assert sorted(path.name for path in seed.parent.glob("seed*")) == ["seed0", "seed0.1x", "seed0.7", "seed0.old"]
    assert is_done(seed, {"rate": 2})
    assert main(command) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'exp'} holds nothing that was moved aside\n"


def test_clean_names_a_directory_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(["clean", "--exp", str(tmp_path / "gone")]) == 1
    assert "gone is not a directory; expected an experiment directory" in capsys.readouterr().err


def book(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "manifest.json").write_text("{}")
    return directory


@pytest.mark.parametrize("marked", [True, False], ids=["", "by an earlier version"])
def test_clean_leaves_a_book_whose_own_name_ends_in_a_number(
    tmp_path: Path, capsys: pytest.CaptureFixture, marked: bool
):
    books = tmp_path / "exp" / "book"
    for name in ("masked", "masked_voice0.1", "masked_voice0.25_unlabelled", "clean"):
        book(books / name)
    old = [put_aside(books / "masked_voice0.1"), put_aside(books / "clean")]
    assert [path.name for path in old] == ["masked_voice0.1.1", "clean.1"]
    for path in old if not marked else ():
        (path / MARKER).unlink()
    for name in ("masked_voice0.1", "clean"):  # made anew
        book(books / name)
    book(books / "masked_voice0")  # beside which the live one looks as if it were moved aside
    assert moved_aside(tmp_path / "exp") == sorted(old)
    assert main(["clean", "--exp", str(tmp_path / "exp"), "--yes"]) == 0
    assert "masked_voice0.1 (" not in capsys.readouterr().out
    left = {path.name for path in books.iterdir()}
    assert left == {"masked", "masked_voice0", "masked_voice0.1", "masked_voice0.25_unlabelled", "clean"}


def test_what_was_moved_aside_and_renamed_by_its_user_is_left_alone(tmp_path: Path):
    aside = put_aside(book(tmp_path / "clean"))
    aside.rename(tmp_path / "kept.2")
    book(tmp_path / "clean.7")  # nobody put it aside: there is no clean
    assert moved_aside(tmp_path) == []


def test_a_killed_move_does_not_make_a_live_book_look_moved_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    live = book(tmp_path / "masked_voice0.1")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "rename", killed)
        put_aside(live)
    assert (live / MARKER).is_file() and moved_aside(tmp_path) == []
    assert moved_aside(tmp_path) == [] and put_aside(live) == tmp_path / "masked_voice0.1.1"
    assert moved_aside(tmp_path) == [tmp_path / "masked_voice0.1.1"]
