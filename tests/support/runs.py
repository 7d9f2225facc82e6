"""The specification of a run, and values to change it to."""

from typing import Any

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
    pretraining=None,
    weights_key=None,
    seed=0,
    split_seed=0,
    training=TrainingConfig(epochs=4, max_length=64),
    trainable_parameters=10,
)

#: For each training value another one than its default and that of RUN.
OTHER_VALUES: dict[str, Any] = {
    "epochs": 99, "batch_size": 8, "learning_rate": 1.0, "final_learning_rate": 1e-9, "warmup_learning_rate": 1e-9,
    "warmup_fraction": 0.5, "weight_decay": 0.0, "gradient_clip": 9.0, "max_length": 32, "padding": "left",
    "pooling": "all", "reverse_complement": 0.0, "batching": "like_length", "split": "regroup",
    "validation_fraction": 0.5, "train_fraction": 0.5, "precision": "bfloat16",
}  # fmt: skip
