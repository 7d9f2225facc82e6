"""A short probe of training: the real model at full size on random tokens, for one seed or a stack.

Callers that plan runs measure memory and time around it. Next: `model/stacked.py`.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn

from hyena.data.batches import Batch
from hyena.data.tokenizer import A, T
from hyena.device import wait_for
from hyena.model.config import HyenaConfig
from hyena.model.hyenadna import Classifier, initialise
from hyena.model.stacked import StackedClassifier
from hyena.randomness import Dropout, stream
from hyena.training.cuda_graphs import EAGER_STEPS, stepper
from hyena.training.optimisation import optimizer_for, predict
from hyena.training.recipe import TrainingConfig


def probe(
    config: HyenaConfig,
    training: TrainingConfig,
    num_classes: int,
    device: torch.device,
    seeds: int = 1,
    frozen: bool = False,
    steps: int = 2,
    captured: bool = False,
) -> float:
    """Take `steps` training steps (the second has the optimiser's state) and predict one batch, all seeds together.

    Batches are full, and as long as `training.max_length` or else `config.l_max`: no batch of a run is larger.

    Args:
        seeds: number of seeds in the stack, at least 1.
        frozen: whether only the head is trained.
        steps: at least 2; with `captured`, more than `cuda_graphs.EAGER_STEPS`, or no step is replayed.
        captured: whether the steps are replayed as CUDA graphs.

    Returns:
        Median seconds of a training step after the first (with `captured`, of the replayed steps), synchronised with
        the device. The caller reads the peak memory.
    """
    models = [Classifier(config, num_classes, training.pooling, training.padding) for _ in range(seeds)]
    for seed, classifier in enumerate(models):
        initialise(classifier, seed)
        classifier.backbone.requires_grad_(not frozen)
        classifier.to(device)
    streams = [stream(seed, "dropout", device) for seed in range(seeds)]
    model: nn.Module = StackedClassifier(models) if seeds > 1 else models[0]
    dropout: Dropout = streams if seeds > 1 else streams[0]
    del models  # a stack holds copies
    shape = (training.batch_size,) if seeds == 1 else (seeds, training.batch_size)
    length = training.max_length or config.l_max
    batch = Batch(
        torch.randint(A, T + 1, (*shape, length), dtype=torch.uint8, device=device),
        torch.full(shape, length, device=device),
        torch.zeros(shape, dtype=torch.int64, device=device),
    )
    optimizer, seconds = optimizer_for(model, training), []
    take_step = stepper(model, optimizer, training, dropout, captured)
    for _ in range(steps):
        wait_for(device)
        started = time.perf_counter()
        take_step(batch, training.learning_rate)
        wait_for(device)
        seconds.append(time.perf_counter() - started)
    predict(model, batch if seeds == 1 else Batch(*(values[0] for values in batch)), training)
    return statistics.median(seconds[EAGER_STEPS + 1 if captured else 1 :])
