"""Where every task has its data and finished teachers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.training.cases import ASR, CLIPS, SHOTS, TRANSLATION, Kind, Place


@pytest.fixture
def place_of(request: pytest.FixtureRequest) -> Callable[[Kind], Place]:
    """What gives, of a kind of task, the `Place` of its data and teachers."""

    def place(kind: Kind) -> Place:
        made = {
            ASR: ("tones", "tone_exp"),
            TRANSLATION: ("pairs_data", None),
            SHOTS: ("songs_data", "shots_exp"),
            CLIPS: ("clips_data", "clips_exp"),
        }
        data, begun = made[kind]
        return Place(request.getfixturevalue(data), begun and request.getfixturevalue(begun))

    return place
