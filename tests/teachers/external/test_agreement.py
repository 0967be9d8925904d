from __future__ import annotations

import pytest

from seqkd.teachers.external.agreement import agreement


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["a b c d"], 1.0),
        (["a b c d", "a b c d", "a b c d"], 1.0),
        (["a b c d", "a b x d"], 1 - 1 / 4),
        (["a b c d", "a b c"], 1 - 1 / 3.5),
        (["a b", "a c", "d c"], 1 - (1 + 2 + 1) / 3 / 2),
        (["a", "b"], 0.0),
        (["a b c d e", ""], 0.0),  # 5 words apart and 2.5 long: not below 0
        (["", ""], 1.0),
        ([], 1.0),
    ],
)
def test_closed_forms(texts: list[str], expected: float) -> None:
    assert agreement(texts) == pytest.approx(expected)
    assert agreement(texts[::-1]) == pytest.approx(expected)
