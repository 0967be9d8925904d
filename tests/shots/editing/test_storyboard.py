"""The storyboard: one file, harmless whatever the song is called, that a browser shows and plays."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seqkd.errors import DataError
from seqkd.shots.classes import LONG_NAMES, SHOTS
from seqkd.shots.editing.storyboard import PEAKS, peaks, to_html
from seqkd.shots.editing.timecode import RATES, FrameRate, parse_rate
from tests.shots.editing.cuts import some_drafts

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & __DATA__ 漢字 #?%"


class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def page(folder: Path, rate: FrameRate, *, audio: bool = True) -> Path:
    """A storyboard of 61.3 s in a directory beside its song's."""
    song = folder / "music" / "the #1 söng & more.wav"
    song.parent.mkdir()
    if audio:
        time = np.arange(int(61.3 * 8000)) / 8000
        soundfile.write(song, 0.5 * np.sin(2 * np.pi * 220 * time) * (time > 20), 8000)
    drafts = some_drafts(rate, audio=song, song=HOSTILE, start=rate.parse("01:00:00:00"), drafts=3)
    out = folder / "cuts" / "board.html"
    out.parent.mkdir()
    out.write_text(to_html(drafts, peaks(song, 61.3) if audio else [], out.parent), encoding="utf-8")
    return out


def data_of(text: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert found
    assert not set("<>&") & set(found[1])
    return json.loads(found[1])


def test_one_file_without_external_resources(tmp_path: Path) -> None:
    text = page(tmp_path, RATES[2]).read_text("utf-8")
    parser = Tags()
    parser.feed(text)
    assert not [tag for tag, _ in parser.tags if tag in ("link", "img", "iframe", "object", "base", "form", "source")]
    attributes = [attributes for _, attributes in parser.tags]
    assert not [one for one in attributes if one.keys() & {"src", "srcset", "onerror", "onload"}]
    assert all(re.fullmatch(r"#[a-z]+(-[A-Z]+)?", one["href"] or "") for one in attributes if "href" in one)
    assert len(parser.of("script")) == 2
    assert "url(" not in text
    assert "@import" not in text
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    (policy,) = [one["content"] for one in parser.of("meta") if "http-equiv" in one]
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert {attributes["id"] for attributes in parser.of("symbol")} == {f"pic-{kind}" for kind in SHOTS}


def test_the_data_is_whole_and_can_end_nothing(tmp_path: Path) -> None:
    text = page(tmp_path, parse_rate("29.97")).read_text("utf-8")
    read = data_of(text)
    assert read["song"] == HOSTILE
    assert read["classes"] == LONG_NAMES
    assert read["source"] == "./../music/the%20%231%20s%C3%B6ng%20%26%20more.wav"
    cuts = some_drafts(parse_rate("29.97"), drafts=3)
    for draft, cut in zip(read["drafts"], cuts, strict=True):
        assert [(shot["start_frame"], shot["end_frame"], shot["type"]) for shot in draft["shots"]] == [
            (clip.start, clip.end, clip.kind) for clip in cut.clips
        ]
    assert len(read["peaks"]) == 3065  # one for each 20 ms
    assert max(read["peaks"]) == 255
    assert max(read["peaks"][:990]) == 0


# ---- waveform


@pytest.mark.parametrize(("seconds", "rate", "channels"), [(2.0, 8000, 1), (0.01, 44100, 2), (23.3, 22050, 2)])
def test_peaks_against_the_whole_song(tmp_path: Path, seconds: float, rate: int, channels: int) -> None:
    samples = np.random.default_rng(0).normal(size=(int(seconds * rate), channels)).astype(np.float32) * 0.1
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    found = peaks(tmp_path / "a.wav", seconds, 700)
    assert len(found) == min(700, max(1, int(np.ceil(seconds * 50))))
    loud = np.abs(samples).max(axis=1)
    parts = np.arange(len(loud)) * len(found) // len(loud)
    expected = [loud[parts == part].max() / loud.max() * 255 for part in range(len(found))]
    assert found == np.rint(expected).astype(int).tolist()


def test_peaks_stay_few_and_silence_is_flat(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.zeros(8000 * 120), 8000)
    assert peaks(tmp_path / "a.flac", 120.0) == [0] * PEAKS


def test_peaks_of_what_is_no_audio(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("no audio")
    with pytest.raises(DataError, match=r"a\.wav cannot be read as audio \(.*\); expected wav, flac, ogg or mp3\.$"):
        peaks(tmp_path / "a.wav", 1.0)


# ---- in a browser


def rendered(url: str, profile: Path, *, dark: bool = False) -> str:
    """The page's elements after its script has run."""
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if found := shutil.which(name):
            break
    else:
        pytest.skip("no Chromium on this machine")
    command = [found, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [
        "--window-size=1200,900",
        f"--user-data-dir={profile}",
        "--virtual-time-budget=4000",
        "--enable-logging=stderr",
    ]
    command += ["--dump-dom", url]
    if dark:
        command.insert(-1, "--blink-settings=preferredColorScheme=0")
    done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    if done.returncode and "Fatal" in done.stderr:
        pytest.skip(f"Chromium does not start here: {done.stderr.strip().splitlines()[-1]}")
    faults = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "favicon" not in line]
    assert not faults, faults
    return done.stdout


def element(text: str, name: str) -> str:
    """What stands within the element of an id, without tags."""
    found = re.search(rf'<(\w+)[^>]* id="{name}"[^>]*>(.*?)</\1>', text, re.S)
    assert found, name
    return html.unescape(re.sub(r"<[^>]+>", "", found[2]))


@pytest.mark.timeout(170)
def test_in_a_browser_at_a_moment_of_a_draft(tmp_path: Path) -> None:
    rate = parse_rate("29.97")
    path = page(tmp_path, rate)
    cut = some_drafts(rate, drafts=3)[1]
    text = rendered(f"{path.as_uri()}#t=30.5&draft=1&zoom=15", tmp_path / "profile")
    assert element(text, "song") == HOSTILE
    parser = Tags()
    parser.feed(text)
    assert len(parser.of("script")) == 2
    assert not parser.of("img")
    cards = [one for one in parser.of("button") if one.get("class") == "card"]
    assert len(cards) == len(cut.clips)
    # The song was found beside the page and is at that moment; so is its label, in drop-frame.
    assert re.search(r'id="lost"[^>]*hidden', text)
    assert element(text, "clock") == "00:30.5 / 01:01.2"
    frame = rate.floor(30.5)
    assert element(text, "timecode") == rate.timecode(rate.parse("01:00:00;00") + frame)
    here = next(index for index, clip in enumerate(cut.clips) if clip.start <= frame < clip.end)
    assert [one["data-index"] for one in cards if one.get("aria-current") == "true"] == [str(here)]
    assert element(text, "now").strip() == f"{here + 1} {cut.clips[here].kind}"
    assert element(text, "now-text").startswith(LONG_NAMES[cut.clips[here].kind])
    assert f"{100 * cut.clips[here].probability:.1f} %" in element(text, "chances")
    pressed = [one.get("aria-pressed") for one in parser.of("button") if "aria-pressed" in one]
    assert pressed == ["false", "true", "false"]


@pytest.mark.timeout(170)
def test_in_a_browser_without_the_song(tmp_path: Path) -> None:
    path = page(tmp_path, RATES[1], audio=False)
    text = rendered(f"{path.as_uri()}#t=100", tmp_path / "profile", dark=True)
    assert not re.search(r'id="lost"[^>]*hidden', text)
    assert "was not found" in element(text, "lost")
    assert element(text, "clock") == "01:01.2 / 01:01.2"
    assert element(text, "next-text") == "the end"
