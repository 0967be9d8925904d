"""Drafts: as many shots as expected or asked for, and long enough ones; on frames, to the end."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkd.errors import ConfigError, DataError
from seqkd.shots.audio.features import Track
from seqkd.shots.data import shots_of
from seqkd.shots.editing.drafts import CutSettings, choose, make_drafts
from seqkd.shots.editing.pace import plan_pace
from seqkd.shots.editing.timecode import FrameRate, parse_rate
from seqkd.shots.editing.timeline import BEAT, DOWNBEAT, SECTION, Clip, Timeline, frames_of
from tests.shots.editing.cuts import LANGUAGE, a_track, some_drafts

RATE = parse_rate("25")


def test_a_long_least_length_of_a_long_song_is_soon_found() -> None:
    """Ten minutes a shot in two hours: in memory and time that do not grow with the length of a shot."""
    posteriors = np.random.default_rng(0).dirichlet(np.ones(8), 7200)
    for draft in (0, 1):
        found = choose(posteriors, LANGUAGE, draft, least=600)
        runs = [len(list(run)) for _, run in itertools.groupby(found)]
        assert min(runs) >= 600


@pytest.mark.parametrize("pace", [1.0, 1.5, 2.3, 3.5, 8.0, 15.0, 40.0])
@pytest.mark.parametrize("snap", ["beat", "frame"])
def test_a_pace_is_kept(pace: float, snap: str) -> None:
    """Of every draft, whatever the model expects, in songs of two to thirty shots and more."""
    misses = {}
    for shots in (2.6, 3.4, 4.45, 5.49, 5.55, 7.5, 9.6, 13.4, 30.45):
        track, posteriors = a_track(round(shots * pace, 2))
        chosen = CutSettings(pace=pace, snap=snap, drafts=2, min_shot=min(0.5, pace / 2))
        for cut in make_drafts("a", Path("a"), track, posteriors, LANGUAGE, chosen):
            spans = np.diff([0, *(float(cut.seconds(clip.end)) for clip in cut.clips)])
            before = spans[:-1].mean()
            mean = min(spans.mean(), before, key=lambda found: abs(found - pace))
            misses[shots, cut.draft] = abs(mean / pace - 1)
            assert len(cut.clips) in (int(shots), int(shots) + 1), shots
            assert spans.min() >= chosen.min_shot - 1e-9
            if plan_pace(track.duration, pace, chosen.min_shot).first is not None:
                assert spans[-1] < 1.6 * pace
                says = f"({before:.1f} s on average); the song ends the last one after {spans[-1]:.1f} s."
                assert cut.note.endswith(says)
    assert max(misses.values()) <= 0.05, misses


def test_a_pace_near_the_least_length_is_kept() -> None:
    """A second is no least length that must be rounded up to two."""
    track, posteriors = a_track(200.4)
    (cut,) = make_drafts("a", Path("a"), track, posteriors, LANGUAGE, CutSettings(pace=2.3, min_shot=2.2))
    assert 200.4 / len(cut.clips) == pytest.approx(2.3, rel=0.05)
    assert min(clip.frames for clip in cut.clips) >= 55


@settings(max_examples=60, deadline=None)
@given(duration=st.floats(1, 900), pace=st.floats(1, 60), share=st.floats(0, 1))
def test_a_plan_of_any_song(duration: float, pace: float, share: float) -> None:
    """As many shots as come nearest, and a last cut that leaves every shot its least length."""
    least = min(share * pace, duration)
    plan = plan_pace(duration, pace, least)
    if plan.first is None:
        assert abs(duration / plan.shots / pace - 1) <= 0.05 or plan.shots == 1
        assert plan.shots > 1 or duration < 1.5 * pace or duration <= 0.96 * pace + least
    else:
        assert 0.94 * pace <= plan.first / (plan.shots - 1) < plan.latest / (plan.shots - 1) <= 1.05 * pace
        assert plan.latest <= duration - least
        assert plan.shots in (int(duration / pace), int(duration / pace) + 1)


def test_drawn_drafts_differ_but_not_in_pace() -> None:
    track, posteriors = a_track(200.4)
    drafts = make_drafts("a", Path("a"), track, posteriors, LANGUAGE, CutSettings(drafts=4))
    assert len({len(draft.clips) for draft in drafts}) == 1
    shown = [choose(posteriors, LANGUAGE, number) for number in range(4)]
    for left, right in itertools.combinations(shown, 2):
        assert 0.5 < (left == right).mean() < 0.98


def test_one_shot_has_a_reason() -> None:
    track, posteriors = a_track(60.0)
    steady = np.full((60, 8), 1e-4) + 0.9992 * np.eye(8)[2]
    cases = [
        (posteriors, {"min_shot": 40}, "One shot: with --min-shot 40 s no two fit into 60.0 s. Choose a shorter one."),
        (posteriors, {"pace": 60}, "One shot: --pace 60 s asks for no more in 60.0 s. Choose a lower pace for more."),
        (steady, {}, "One shot: the model gives MS 100 % on average, the most in 100 % of the seconds, and expects 1."),
    ]
    for rows, chosen, says in cases:
        (cut,) = make_drafts("a", Path("a"), track, rows, LANGUAGE, CutSettings(**chosen))
        assert len(cut.clips) == 1
        assert cut.note.startswith(says)
    (cut,) = make_drafts("a", Path("a"), track, steady, LANGUAGE, CutSettings(pace=4))
    assert len(cut.clips) == 15
    assert cut.note == ""


def test_a_draft_does_not_depend_on_how_many_there_are() -> None:
    three, six = some_drafts(RATE, drafts=3), some_drafts(RATE, drafts=6)
    assert six[:3] == three
    assert [draft.draft for draft in six] == list(range(6))
    assert len({draft.clips for draft in six}) == 6


def test_the_seed_changes_all_but_the_best() -> None:
    track, posteriors = a_track()
    cuts = [
        make_drafts("a", Path("a"), track, posteriors, LANGUAGE, CutSettings(drafts=2, seed=seed)) for seed in (0, 0, 1)
    ]
    assert cuts[0] == cuts[1]
    assert cuts[0][0] == cuts[2][0]
    assert cuts[0][1].clips != cuts[2][1].clips


@settings(max_examples=40, deadline=None)
@given(
    seconds=st.floats(1, 200).map(lambda x: round(x, 3)),
    rate=st.sampled_from(["24", "25", "29.97", "60", "23.976"]).map(parse_rate),
    snap=st.sampled_from(["beat", "downbeat", "frame"]),
    beat=st.floats(0.3, 1.5),
    shortest=st.floats(0, 4),
    draft=st.integers(0, 2),
)
def test_any_song(seconds: float, rate: FrameRate, snap: str, beat: float, shortest: float, draft: int) -> None:
    track, posteriors = a_track(seconds, beat, seed=round(seconds))
    chosen = CutSettings(rate=rate, snap=snap, min_shot=min(shortest, seconds), drafts=draft + 1)
    cut = make_drafts("a", Path("a"), track, posteriors, LANGUAGE, chosen)[draft]
    # To the frame: the last one ends within the audio, the one after it would not.
    assert cut.clips[0].start == 0
    assert cut.clips[-1].end == cut.frames
    assert cut.seconds(cut.frames) <= seconds + 1e-6 < cut.seconds(cut.frames + 1) + 2e-6
    for left, right in itertools.pairwise(cut.clips):
        assert left.end == right.start
        assert left.kind != right.kind
    needed = chosen.min_shot * float(rate.fps)
    if needed * len(cut.clips) <= cut.frames - len(cut.clips):
        assert min(clip.frames for clip in cut.clips) >= needed
    for clip in cut.clips:
        assert sum(clip.probabilities) == pytest.approx(1, abs=1e-5)
    assert all(0 <= marker.frame < cut.frames for marker in cut.markers)


def test_a_least_length_is_kept_to_the_frame() -> None:
    track, posteriors = a_track(200.4)
    for snap in ("beat", "frame"):
        chosen = CutSettings(snap=snap, min_shot=2.5, drafts=4)
        for cut in make_drafts("a", Path("a"), track, posteriors, LANGUAGE, chosen):
            assert min(clip.frames for clip in cut.clips) >= 63
            assert len(cut.clips) > 10


def test_cuts_are_on_beats_near_to_where_the_model_has_them() -> None:
    track, posteriors = a_track()
    (cut,) = some_drafts(RATE)
    beats = {marker.frame for marker in cut.marked(BEAT, DOWNBEAT)}
    wanted = [
        round(25 * shot.start)
        for shot in shots_of(choose(posteriors, LANGUAGE, 0))
    ]  # fmt: skip
    assert cut.clips[0].start == 0
    for clip, frame in zip(cut.clips[1:], wanted[1:], strict=True):
        assert clip.start in beats
        assert abs(clip.start - frame) <= 12  # a beat is 0.48 s, 12 frames
    assert beats == {round(25 * beat) for beat in track.beats}


def test_markers() -> None:
    (cut,) = some_drafts(RATE)
    assert [(marker.frame, marker.name) for marker in cut.marked(SECTION)] == [(0, "A"), (511, "B")]
    assert [marker.frame for marker in cut.marked(DOWNBEAT)][:3] == [5, 53, 101]
    assert [marker.frame for marker in cut.markers] == sorted(marker.frame for marker in cut.markers)


def test_probabilities_are_those_of_the_seconds_of_the_shot() -> None:
    _, posteriors = a_track()
    (cut,) = some_drafts(RATE)
    shots = shots_of(choose(posteriors, LANGUAGE, 0))
    for clip, shot in zip(cut.clips, shots, strict=True):
        assert clip.kind == shot.kind
        assert clip.probabilities == pytest.approx(posteriors[int(shot.start) : int(shot.end)].mean(0), abs=1e-6)
    assert np.mean([clip.probability for clip in cut.clips]) > 0.5


def test_without_beats_cuts_stay_on_their_frames() -> None:
    track, posteriors = a_track()
    silent = Track(track.frames, track.names, duration=track.duration)
    for snap in ("beat", "downbeat", "frame"):
        (cut,) = make_drafts("a", Path("a"), silent, posteriors, LANGUAGE, CutSettings(snap=snap))
        assert all(clip.start % 25 == 0 for clip in cut.clips)
        assert cut.markers == ()


def test_settings_that_cannot_be() -> None:
    for wrong, says in [
        ({"snap": "bar"}, "--snap 'bar' is not known; expected one of beat, downbeat, frame."),
        ({"min_shot": -1.0}, "--min-shot -1.0 is no length; expected seconds from 0 on."),
        ({"min_shot": float("nan")}, "--min-shot nan is no length; expected seconds from 0 on."),
        ({"pace": 0.5}, "--pace 0.5 is no mean length of shots; expected seconds, 1 or more."),
        ({"pace": float("nan")}, "--pace nan is no mean length of shots; expected seconds, 1 or more."),
        ({"pace": 2, "min_shot": 3}, "--pace 2 s is below --min-shot 3 s; choose a shorter least length."),
        ({"drafts": 0}, "--drafts 0 leaves nothing to write; expected 1 or more."),
        ({"seed": -1}, "--seed -1 is negative; expected a whole number from 0 on."),
    ]:
        with pytest.raises(ConfigError, match=f"^{re.escape(says)}$"):
            CutSettings(**wrong)
    track, posteriors = a_track(5.5)
    says = "--min-shot 6 s is longer than 'a', which lasts 5.50 s; choose a shorter one."
    with pytest.raises(ConfigError, match=f"^{re.escape(says)}$"):
        make_drafts("a", Path("a"), track, posteriors, LANGUAGE, CutSettings(min_shot=6))


def test_a_timeline_has_no_gaps() -> None:
    even = tuple([0.125] * 8)

    def cut(*clips: Clip, start: int = 0) -> Timeline:
        return Timeline("a", Path("a"), 4.0, RATE, start, 100, 0, clips)

    assert len(cut(Clip(0, 40, "CU", even), Clip(40, 100, "LS", even)).clips) == 2
    for clips in [
        (Clip(0, 40, "CU", even), Clip(41, 100, "LS", even)),
        (Clip(0, 40, "CU", even), Clip(40, 40, "MS", even), Clip(40, 100, "LS", even)),
        (Clip(0, 99, "CU", even),),
        (Clip(0, 100, "CU", even[:7]),),
        (),
    ]:
        with pytest.raises(DataError, match="of 'a'"):
            cut(*clips)
    with pytest.raises(ConfigError, match="'a' would pass midnight: it starts at 23:59:58:00 and lasts 4 s; "):
        cut(Clip(0, 100, "CU", even), start=RATE.parse("23:59:58:00"))
    assert frames_of(0.01, RATE) == 1
