"""Fixtures over loss_batches.py."""

from collections.abc import Callable

import pytest

from seqkd.losses import DistillationLoss
from tests.losses import loss_batches
from tests.losses.loss_batches import OBJECTIVES, Batch, make_batch


@pytest.fixture(params=OBJECTIVES, ids=str)
def objective(request) -> Callable[..., DistillationLoss]:
    return OBJECTIVES[request.param]


@pytest.fixture
def batch() -> Batch:
    return make_batch()


@pytest.fixture
def make():
    return make_batch


@pytest.fixture
def gradients():
    return loss_batches.gradients
