"""Random sequences for the tests of the audit."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.support.dna import random_dna


@pytest.fixture
def dna() -> Callable[[int], bytes]:
    """New random letters, so many, at every call."""
    rng = np.random.default_rng(7)
    return lambda length: random_dna(rng, length)
