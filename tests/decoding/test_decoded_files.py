"""The files of a decoding and their stamp."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqkd.decoding import run
from seqkd.decoding.run import DecodedSpeech, write_decoded
from seqkd.uptodate import is_current


@pytest.mark.parametrize("killed_at", ["text", "hyp.trn", "hyp.jsonl"])
def test_a_kill_while_they_are_rewritten_leaves_no_stamp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    greedy, wide = {"beam": 1}, {"beam": 8}
    write_decoded(tmp_path, {"u": DecodedSpeech("do re", [0.9, 0.8])}, greedy)
    assert is_current(tmp_path / "decode.json", greedy)
    write_text = run.write_text

    def killed(path: Path, text: str) -> None:
        if path.name == killed_at:
            raise KeyboardInterrupt
        write_text(path, text)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(run, "write_text", killed)
        write_decoded(tmp_path, {"u": DecodedSpeech("mi", [0.7])}, wide)
    assert not is_current(tmp_path / "decode.json", greedy)  # the beam that one goes back to
