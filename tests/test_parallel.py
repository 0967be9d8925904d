"""Work that is shared among processes."""

import os
import signal

import pytest

from seqkd.errors import SeqkdError
from seqkd.parallel import in_parallel


def doubled(number: int) -> int:
    return 2 * number


def killed(number: int) -> int:
    """As the system does where memory runs out."""
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_results_come_in_order() -> None:
    assert list(in_parallel(doubled, range(7), 2, "numbers")) == [0, 2, 4, 6, 8, 10, 12]


def test_a_worker_that_was_killed_is_one_sentence() -> None:
    with pytest.raises(SeqkdError) as caught:
        list(in_parallel(killed, range(7), 2, "features of train", "shard"))
    assert str(caught.value) == (
        "features of train: one of 2 worker processes was killed, most likely for memory; run it again with a lower "
        "--nj"
    )
