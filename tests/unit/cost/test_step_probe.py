"""The probe runs the real model, for one seed and for a stack."""

import pytest
import torch

from hyena.cost.step_probe import probe
from hyena.model.config import HyenaConfig
from hyena.training.recipe import TrainingConfig


@pytest.mark.parametrize(("seeds", "frozen"), [(1, False), (3, False), (2, True)])
def test_a_probe_takes_time_and_works_for_stacks_and_frozen_backbones(seeds: int, frozen: bool) -> None:
    config = HyenaConfig(d_model=8, n_layer=1, l_max=32)
    training = TrainingConfig(epochs=1, batch_size=4, max_length=20)
    assert probe(config, training, 2, torch.device("cpu"), seeds, frozen) > 0
