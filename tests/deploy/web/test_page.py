"""``seqkd export --web``: the page in a browser gives what ``seqkd transcribe`` gives."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from seqkd.cli.main import main
from seqkd.data.kaldi import Utterance, read_data_dir
from seqkd.deploy.bundle import open_bundle
from seqkd.deploy.formats import json_line
from seqkd.deploy.transcribe import transcribe
from seqkd.deploy.web import runtime
from seqkd.deploy.web.page import PAGE_FILES, write_page
from seqkd.errors import ConfigError
from tests.deploy.web.chromium import CHROMIUM, Page, browser
from tests.tone_corpus import RATE


@pytest.fixture(scope="module")
def utterances(tones: Path) -> list[Utterance]:
    return read_data_dir(tones / "dev")


@pytest.fixture(scope="module")
def folder(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the tone model. Not to be changed."""
    try:
        runtime.read_runtime()
    except ConfigError as error:
        pytest.skip(str(error))
    out = tmp_path_factory.mktemp("web") / "page"
    assert main(["export", "--web", "--model", str(exported), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def page(folder: Path, utterances: list[Utterance], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """It, opened by its file name; the microphone gives the second utterance again and again."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    flags.append(f"--use-file-for-fake-audio-capture={utterances[1].audio.resolve()}")
    with browser(tmp_path_factory.mktemp("profile"), flags) as one:
        one.open(folder / "index.html")
        yield one


def test_a_double_click_is_enough_and_the_result_is_transcribes(
    page: Page, exported: Path, folder: Path, utterances: list[Utterance]
) -> None:
    bundle = open_bundle(exported)
    for utterance in utterances[:4]:
        page.give(utterance.audio)
        found = page.run("seqkd.transcript()")
        expected = json.loads(json_line(transcribe(bundle, utterance.audio), False))
        assert (found["text"], found["seconds"]) == (utterance.text, expected["seconds"])
        for one, other in zip(found["words"], expected["words"], strict=True):
            assert one == {
                key: pytest.approx(value, abs=2e-3) if key != "word" else value for key, value in other.items()
            }
    assert page.problems == []
    local = folder.as_uri()
    assert {address for address in page.requests if not address.startswith((local, "blob:"))} == set()


def test_what_the_page_shows(page: Page, utterances: list[Utterance]) -> None:
    page.give(utterances[0].audio)
    shown = page.run("[...document.querySelectorAll('#words b')].map((word) => word.textContent).join(' ')")
    assert shown == utterances[0].text
    assert float(page.run("document.getElementById('factor').textContent")) < 1
    rows = page.run("(() => { const { rows } = seqkd.plotted; return rows.map((id) => seqkd.model.units[id]); })()")
    assert {unit.removeprefix("▁") for unit in rows} >= set(utterances[0].text.split())
    drawn = "new Set(document.getElementById('plot').getContext('2d').getImageData(0, 0, 900, 120).data).size > 20"
    assert page.run(drawn)


def test_another_rate_and_what_the_browser_decodes(page: Page, utterances: list[Utterance], tmp_path: Path) -> None:
    for number, rate in enumerate((16000, 44100)):
        for suffix in ("wav", "flac"):
            utterance = utterances[number]
            samples = soxr.resample(soundfile.read(utterance.audio)[0], RATE, rate)
            path = tmp_path / f"{rate}.{suffix}"
            soundfile.write(path, np.repeat(samples[:, None], 2, 1), rate)
            page.give(path)
            assert page.run("seqkd.transcript().text") == utterance.text


def test_a_long_recording_is_cut_as_transcribe_cuts_it(
    page: Page, exported: Path, utterances: list[Utterance], tmp_path: Path
) -> None:
    joined = np.concatenate([soundfile.read(one.audio)[0] for one in utterances * 8])
    soundfile.write(tmp_path / "long.wav", joined, RATE)
    page.give(tmp_path / "long.wav")
    found = page.run("seqkd.transcript()")
    expected = transcribe(open_bundle(exported), tmp_path / "long.wav")
    assert found["seconds"] > 60
    assert found["text"] == expected.text
    assert [word["end"] for word in found["words"]] == pytest.approx([word.end for word in expected.words], abs=2e-3)


def test_speaking(page: Page, utterances: list[Utterance]) -> None:
    page.run("document.documentElement.dataset.state = 'ready'; document.getElementById('speak').click()")
    page.wait("document.documentElement.dataset.state === 'speaking'")
    page.wait("document.querySelectorAll('#words b').length >= 5")
    assert page.run("document.getElementById('play').disabled")
    page.run("document.getElementById('speak').click()")
    page.wait("document.documentElement.dataset.state === 'done'")
    assert set(utterances[1].text.split()) <= set(page.run("seqkd.transcript().text").split())
    assert page.run("seqkd.transcript().seconds") > 0.7
    assert not page.run("document.getElementById('play').disabled")


def test_what_cannot_be_read_is_one_sentence(page: Page, tmp_path: Path) -> None:
    (tmp_path / "text.mp3").write_text("not audio")
    page.give(tmp_path / "text.mp3")
    status = "document.getElementById('status').textContent"
    assert page.run(status) == "text.mp3 cannot be read as audio by this browser; convert it to WAV and try again."
    soundfile.write(tmp_path / "short.wav", np.zeros(80), RATE)
    page.give(tmp_path / "short.wav")
    assert page.run(status) == "short.wav lasts 10 ms, less than one frame of 25 ms."
    page.problems.clear()  # both are on the console, too


def test_it_is_written_once_and_small_beside_the_runtime(
    exported: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert files == sorted([*PAGE_FILES, "export.json"])
    own = sum((folder / name).stat().st_size for name in PAGE_FILES if not name.startswith("runtime/"))
    assert own < 2 * (exported / "model.onnx").stat().st_size + 60_000
    assert not write_page(exported, folder)
    out = tmp_path / "int8"
    assert write_page(exported, out, int8=True)
    assert (out / "model" / "model.js").stat().st_size < (folder / "model" / "model.js").stat().st_size
    assert "in 8 bits" in (out / "model" / "model.js").read_text()
    capsys.readouterr()
    assert main(["export", "--web", "--model", str(out), "--out", str(tmp_path / "x")]) == 1
    assert "is the export of a page for a browser, but one of a speech recogniser is needed" in capsys.readouterr().err


def test_a_runtime_that_cannot_be_had_is_one_sentence(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", "--web", "--model", str(exported), "--out", str(tmp_path / "out")]
    by_hand = "'npm pack onnxruntime-web@1.30.0 && tar -xzf onnxruntime-web-1.30.0.tgz package/dist'"

    def says(sentence: str, *more: str) -> None:
        capsys.readouterr()
        assert main([*command, *more]) == 1
        assert capsys.readouterr().err == f"seqkd export: {sentence}\n"
        assert not (tmp_path / "out").exists()

    monkeypatch.setenv("SEQKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    if shutil.which("npm"):
        capsys.readouterr()
        assert main(command) == 1
        said = capsys.readouterr().err
        assert said.startswith("seqkd export: npm cannot fetch onnxruntime-web 1.30.0 (")
        assert said.endswith(f"run {by_hand}, and give the directory package/dist here by --runtime\n")
        assert not (tmp_path / "out").exists()
    monkeypatch.setenv("PATH", str(tmp_path))
    says(
        f"npm is not installed, which fetches onnxruntime-web 1.30.0; install it, or on a machine that can, run "
        f"{by_hand}, and give the directory package/dist here by --runtime"
    )
    script = tmp_path / "dist" / runtime.SCRIPT
    advice = f"get it by {by_hand} and give --runtime package/dist"
    says(
        f"{script} cannot be read (No such file or directory); expected onnxruntime-web 1.30.0, {advice}",
        "--runtime",
        str(script.parent),
    )
    script.parent.mkdir()
    script.write_text("another version")
    says(f"{script} is not that of onnxruntime-web 1.30.0; {advice}", "--runtime", str(script.parent))


def test_nothing_else_is_overwritten(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind, name in (("--web", "page for a browser"), ("--sherpa", "model for sherpa-onnx")):
        capsys.readouterr()
        assert main(["export", kind, "--model", str(exported), "--out", str(exported)]) == 1
        says = f"{exported} holds a speech recogniser, not a {name}; name a directory that is new or empty"
        assert capsys.readouterr().err == f"seqkd export: {says}\n"
    for wrong in (["--int8"], ["--sherpa", "--web", "--model", "x", "--out", "y"], ["--runtime", "x"]):
        with pytest.raises(SystemExit):
            main(["export", *wrong])
