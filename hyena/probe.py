"""What a training worker meets, in short: the real model at full size on random tokens, for one seed or a stack.

Whoever plans runs measures memory and time around it. Next: `stacked.py`.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn

from hyena.batches import Batch
from hyena.config import HyenaConfig
from hyena.model import Classifier, initialise
from hyena.optimisation import optimisation_step, optimizer_for, predict
from hyena.randomness import Dropout, stream
from hyena.recipe import TrainingConfig
from hyena.stacked import StackedClassifier
from hyena.tokenizer import A, T


def probe(
    config: HyenaConfig,
    training: TrainingConfig,
    num_classes: int,
    device: torch.device,
    seeds: int = 1,
    frozen: bool = False,
    steps: int = 2,
) -> float:
    """Take `steps` training steps (the second has the optimiser's state) and predict one batch, all seeds together.

    Batches are full, and as long as `training.max_length`, or else `config.l_max`: none of a run is larger.

    Args:
        seeds: seeds stacked, at least 1.
        frozen: whether the head alone is trained.
        steps: at least 2.

    Returns:
        Median seconds of a training step after the first, the device waited for. Peak memory is the caller's to read.
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
    for _ in range(steps):
        started = _now(device)
        optimisation_step(model, optimizer, batch, training.learning_rate, training, dropout)
        seconds.append(_now(device) - started)
    predict(model, batch if seeds == 1 else Batch(*(values[0] for values in batch)), training)
    return statistics.median(seconds[1:])


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
