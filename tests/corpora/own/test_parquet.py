"""Parquet tables as the Hugging Face hub has them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from seqkd.corpora.own.audio import make_corpus
from seqkd.data.kaldi import Utterance, read_data_dir
from seqkd.errors import DataError

arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'seqkd[parquet]'")
RATE = 8000


def samples(seed: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(RATE // 2)


def recorded(seed: int, path: str | None = "x.wav", form: str = "WAV") -> dict[str, Any]:
    store = io.BytesIO()
    soundfile.write(store, samples(seed), RATE, format=form)
    return {"bytes": store.getvalue(), "path": path}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(arrow.Table.from_pylist(rows), path)
    return path


def imported(data: Path, train: Path, **settings: Any) -> dict[str, Utterance]:
    make_corpus(data, nj=1, train=train, sample_rate=RATE, **settings)
    return {u.id: u for name in ("train", "dev", "test") for u in read_data_dir(data / name)}


def test_splits_of_the_hub(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """With LibriSpeech's columns: ``file`` is a path of another machine."""
    for number, name in enumerate(("train-00000-of-00002", "train-00001-of-00002", "validation-0", "test-0")):
        rows = [
            {"file": f"/elsewhere/{number}{n}.flac", "audio": recorded(10 * number + n), "text": f" ab {n}{number} c",
             "speaker_id": 100 + number, "id": f"{number}-{n}"}
            for n in range(3)
        ]  # fmt: skip
        write(tmp_path / "hub" / "data" / f"{name}.parquet", rows)
    found = imported(tmp_path / "data", tmp_path / "hub")
    assert "is read as: Parquet tables" in capsys.readouterr().err
    sizes = {name: len(read_data_dir(tmp_path / "data" / name)) for name in ("train", "dev", "test")}
    assert sizes == {"train": 6, "dev": 3, "test": 3}
    (one,) = (u for u in found.values() if u.id.endswith("1-2"))
    assert (one.text, one.speaker) == ("ab 21 c", "101")
    np.testing.assert_allclose(soundfile.read(one.audio)[0], samples(12), atol=1e-4)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "data" / "unpacked").rglob("*.wav")}
    assert len(before) == 12
    imported(tmp_path / "data", tmp_path / "hub")
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / "data" / "unpacked").rglob("*.wav")}


def test_one_table_with_names_of_its_own(tmp_path: Path) -> None:
    rows = [
        {"ton": recorded(n, path="../../etc/x" if n % 2 else None, form="FLAC"), "satz": f"ab {'c' * n}"}
        for n in range(40)
    ]
    found = imported(tmp_path / "data", write(tmp_path / "t.parquet", rows), columns={"text": "satz"})
    assert len(found) == 40
    assert {u.audio.suffix for u in found.values()} == {".flac"}
    assert {u.audio.resolve().parents[1] for u in found.values()} == {tmp_path / "data" / "unpacked"}
    assert {u.text for u in found.values()} == {f"ab {'c' * n}".strip() for n in range(40)}


BAD = {
    "no audio": ([{"text": "ab"}], r"t\.parquet has 0 columns of audio \(its columns: text\); expected one"),
    "two columns": (
        [{"a": recorded(1), "b": recorded(2), "text": "ab"}],
        r"t\.parquet has 2 columns of audio \(a, b\); expected one, struct<bytes, path>, or its name in",
    ),
    "no bytes": (
        [{"audio": recorded(1), "text": "ab"}, {"audio": {"bytes": None, "path": "x.wav"}, "text": "ab"}],
        r"t\.parquet, row 2 has no bytes of audio",
    ),
    "not audio": (
        [{"audio": {"bytes": b"abc", "path": None}, "text": "ab"}], r"row 1: its audio cannot be read",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_bad_tables_are_a_sentence(fault: str, tmp_path: Path) -> None:
    rows, message = BAD[fault]
    with pytest.raises(DataError, match=message):
        imported(tmp_path / "data", write(tmp_path / "t.parquet", rows))
    assert not (tmp_path / "data" / "train").exists()


def test_a_damaged_table(tmp_path: Path) -> None:
    table = write(tmp_path / "t.parquet", [{"audio": recorded(1), "text": "ab"}])
    table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"t\.parquet cannot be read as Parquet \(.*\); get it again\."):
        imported(tmp_path / "data", table)
