"""Every command of the seq2seq recipe, one after the other; and what the user sees when something is wrong."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seqkd.cli.main import main
from tests.pairs_corpus import arguments, make_corpus

SYSTEMS = ["none", "adaptive", "tf_kd_self", "word_kd", "book_kd", "sequence_kd"]
OPTIONS = [f"systems=[{','.join(SYSTEMS)}]", "report.replicates=100", "book.k=4", "decode.beam=2"]


def train(*systems: str) -> list[list[str]]:
    """In this process, one after the other: ``train --group`` would start one for each."""
    return [["train", "--one", f"system={system}"] for system in systems]


STAGES = [
    ["prepare"],
    *train("teacher", "none", "adaptive"),
    ["book", "make"],
    *train("tf_kd_self", "word_kd", "book_kd", "sequence_kd"),
    ["decode"],
    ["score", "--recipe"],
    ["report"],
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(exp, data) after all stages."""
    root = tmp_path_factory.mktemp("pipeline")
    exp, data = root / "exp", make_corpus(root / "data")
    for stage in STAGES:
        assert main([*stage, *arguments(exp, data, *OPTIONS)]) == 0, stage
    return exp, data


def changes(*roots: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for root in roots for path in root.rglob("*") if path.is_file()}


@pytest.mark.timeout(400)
def test_every_file_of_the_contract_is_there(finished: tuple[Path, Path]) -> None:
    exp, data = finished
    references = [line.split()[0] for line in (data / "test" / "tgt").read_text().splitlines()]
    for system in ("teacher", *SYSTEMS):
        run = exp / system / "seed0"
        assert {path.name for path in (run / "model").iterdir()} == {
            "model.safetensors", "model.yaml", "tokenizer.json", "tokenizer.model",
        }  # fmt: skip
        assert not (run / "checkpoints").exists()
        decoded = run / "decode_test"
        assert [json.loads(line)["id"] for line in (decoded / "hyp.jsonl").open()] == references
        scores = json.loads((decoded / "score.json").read_text())["scores"]
        assert set(scores) >= {"bleu", "chrf", "nll", "ece", "inference_ece", "brier"}
        with np.load(decoded / "forced.npz", allow_pickle=False) as forced:
            assert list(forced["ids"]) == references
            assert forced["lengths"].sum() == len(forced["nll"])
            assert scores["nll"]["value"] == pytest.approx(float(forced["nll"].mean()), rel=1e-5)
    assert (exp / "teacher" / "seed0" / "book" / "manifest.json").is_file()
    assert (exp / "teacher" / "seed0" / "decode_train" / "hyp.jsonl").is_file()
    report = (exp / "RESULTS.md").read_text()
    assert all(label in report for label in ("Adaptive smoothing", "Word-level KD", "BLEU", "ECE"))
    assert list((exp / "figures").glob("*.png"))


def test_a_second_run_does_nothing_over(finished: tuple[Path, Path]) -> None:
    exp, data = finished
    before = changes(exp, data)
    for stage in STAGES[:-1]:
        assert main([*stage, *arguments(exp, data, *OPTIONS)]) == 0
    after = changes(exp, data)
    changed = [str(path) for path in after if before.get(path) != after[path]]
    assert not [path for path in changed if not path.endswith((".log", ".lock"))]


FAULTS: list[tuple] = []


def fault(command: str, *settings: str, says: str) -> Callable:
    def register(breaks: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
        FAULTS.append(pytest.param(breaks, command, settings, says, id=breaks.__name__))
        return breaks

    return register


def rewrite(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))


@fault("prepare", says="{data}/train/tgt is missing; *")
def missing_side(exp: Path, data: Path) -> None:
    (data / "train" / "tgt").unlink()


@fault("prepare", says="{data}/train/src has 120 lines, but {data}/train/tgt has 119; *")
def fewer_lines(exp: Path, data: Path) -> None:
    rewrite(data / "train" / "tgt", lambda lines: lines[:-1])


@fault("prepare", says="{data}/dev/src, line 1: byte 11 (0xfc) is not valid UTF-8; *")
def wrong_encoding(exp: Path, data: Path) -> None:
    (data / "dev" / "src").write_bytes("dev-0000 für\n".encode("latin-1"))


@fault(
    "prepare",
    "text.max_words=2",
    says="{data}/train: none of its 120 pairs is usable (120 over-long); raise text.max_words (2) or *",
)
def nothing_usable(exp: Path, data: Path) -> None:
    rewrite(data / "train" / "src", lambda lines: [f"{line} and more" for line in lines])


@fault("prepare", "text.max_words=0", says="setting text.max_words is 0; expected at least 1")
def no_words_allowed(exp: Path, data: Path) -> None:
    pass


@fault(
    "prepare",
    "tokens.type=bpe",
    "tokens.vocab_size=9000",
    says="sentencepiece cannot make 9000 bpe units from 240 lines (*); set tokens.vocab_size=* or fewer",
)
def vocabulary_larger_than_the_data(exp: Path, data: Path) -> None:
    pass


@fault("train --one", "system=adaptive", says="{exp}/tokens/tokenizer.model is missing; run ./run.sh --stage prepare")
def no_tokenizer(exp: Path, data: Path) -> None:
    shutil.rmtree(exp / "tokens")


@fault(
    "train --one",
    "system=tf_kd_self",
    says="{exp}/none/seed0: no finished model here; tf_kd_self learns from none, train it first",
)
def no_teacher(exp: Path, data: Path) -> None:
    pass


@fault(
    "train --one",
    "system=adaptive",
    "system.objective.labels.prior=worst",
    says="setting system.objective.labels.prior is 'worst'; expected *",
)
def unknown_prior(exp: Path, data: Path) -> None:
    pass


@fault(
    "train --one",
    "system=none",
    "student.training.lr=1e20",
    says="the training loss is not finite by update *; lower training.lr or training.gradient_clip, and run it again",
)
def diverging(exp: Path, data: Path) -> None:
    pass


@fault(
    "train --one",
    "system=none",
    "student.training.max_length=1",
    "text.max_words=3",
    says="all * pairs have more than 1 tokens; raise max_length",
)
def all_over_long(exp: Path, data: Path) -> None:
    rewrite(data / "train" / "src", lambda lines: [f"{line} one" for line in lines])


@fault("train", "systems=[adaptve]", says="there is no system 'adaptve'; did you mean adaptive? known: adaptive, *")
def unknown_system(exp: Path, data: Path) -> None:
    pass


@fault("decode", "systems=[none]", says="{exp}/none/seed0 has no finished model; run ./run.sh --stage teachers")
def nothing_to_decode(exp: Path, data: Path) -> None:
    pass


@fault(
    "score --recipe",
    "systems=[none]",
    says="{exp}/none/seed0/decode_test has no hyp.jsonl; run ./run.sh *",
)
def nothing_to_score(exp: Path, data: Path) -> None:
    pass


@fault("book make", "systems=[word_kd]", "book.form=torn", says="setting book.form is 'torn'; expected one of dense, *")
def unknown_form(exp: Path, data: Path) -> None:
    from tests.pairs_corpus import train_here

    train_here(exp, data, "teacher", "teacher.training.updates=2", "teacher.training.validate_every=2")


@fault(
    "prepare corpus", "+corpus._target_=seqkd.corpora.text.parallel.make_corpus", "+corpus.source=no.en", says="*no.en*"
)
def no_source(exp: Path, data: Path) -> None:
    pass


@pytest.mark.parametrize(("breaks", "command", "settings", "says"), FAULTS)
def test_one_sentence(
    breaks: Callable, command: str, settings: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    exp, data = tmp_path / "exp", make_corpus(tmp_path / "data")
    assert main(["prepare", *arguments(exp, data)]) == 0
    breaks(exp, data)
    capsys.readouterr()
    assert main([*command.split(), *arguments(exp, data, *settings)]) == 1
    (*_, said) = capsys.readouterr().err.strip().splitlines()
    expected = f"seqkd {command.split()[0]}: " + says.format(exp=exp, data=data)
    assert re.fullmatch(".*".join(map(re.escape, expected.split("*"))), said), said
    assert not [path for path in changes(exp, data) if path.name.startswith(".tmp")]
