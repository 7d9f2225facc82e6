"""A run's specification that tests change as they need."""

from hyena.model.config import HyenaConfig
from hyena.training.recipe import TrainingConfig
from sweep.trials import DataFacts, DataSpec, RunSpec

RUN = RunSpec(
    run_id="0",
    setting_id="s",
    study="study",
    model="m",
    config=HyenaConfig(8, 1, 64),
    data=DataSpec("d", None, None, None),
    facts=DataFacts("digest", ("negative", "positive"), (50, 50), 64, 0, 50),
    init="scratch",
    weights_key=None,
    seed=0,
    split_seed=0,
    training=TrainingConfig(epochs=4, max_length=64),
    trainable_parameters=10,
)
