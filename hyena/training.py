"""Training of one classifier: one run, epoch by epoch, with every random draw from a named stream.

Recipe: the original study's (AdamW, 6e-4 with 1 % linear warm-up and a cosine to a tenth, weight decay 0.1 except on
the implicit filter, gradient norm clipped at 1). Deviations from its code, each a fault repaired: no optimiser step
after evaluation, no augmentation of test sequences, epochs chosen on a validation split. Next: `metrics.py`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyena.batches import padded, reverse_complement
from hyena.errors import InputError
from hyena.metrics import Scores, score
from hyena.model import Classifier, Padding, Pooling
from hyena.randomness import stream
from hyena.regroup import regroup
from hyena.sequences import Dataset, Split, training_subset, with_validation

#: Parameters with one of these in their name belong to the implicit filter: no weight decay.
FILTER_PARAMETERS = ("filter_fn", "pos_emb", "modulation")

Precision = Literal["float32", "bfloat16"]
SplitRule = Literal["official", "regroup"]


class TrainingError(RuntimeError):
    """The run cannot go on: its loss is not a number."""


@dataclass(frozen=True)
class TrainingConfig:
    """How a run is trained. Every value is a column of the runs table.

    Attributes:
        epochs: passes over the training split.
        batch_size: sequences per step.
        learning_rate, final_learning_rate, warmup_learning_rate: peak, last and first rate of the schedule.
        warmup_fraction: share of all steps in the linear warm-up.
        weight_decay: AdamW's, on everything but the implicit filter.
        gradient_clip: largest gradient norm.
        max_length: sequences are cut to this; None for the data set's longest.
        padding: side of the padding. A causal model does not see padding on the right; "left" is as published.
        pooling: what the head averages: "real" positions, or "all" as published.
        reverse_complement: probability of reverse-complementing a training sequence.
        split: "official", or "regroup": all splits cut anew so that no overlapping sequences face each other.
        validation_fraction: share of the training split held out, where the data set brings no validation split.
        train_fraction: share of what is left that is trained on; smaller shares are nested in larger ones.
        precision: of matrix products; residual, normalisation and long convolution stay in float32.
    """

    epochs: int
    batch_size: int = 256
    learning_rate: float = 6e-4
    final_learning_rate: float = 6e-5
    warmup_learning_rate: float = 1e-6
    warmup_fraction: float = 0.01
    weight_decay: float = 0.1
    gradient_clip: float = 1.0
    max_length: int | None = None
    padding: Padding = "right"
    pooling: Pooling = "real"
    reverse_complement: float = 0.5
    split: SplitRule = "official"
    validation_fraction: float = 0.1
    train_fraction: float = 1.0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}: it must be at least 1")
        for name in ("learning_rate", "final_learning_rate", "warmup_learning_rate", "gradient_clip"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise InputError(f"{name} = {getattr(self, name)}: it must be more than 0")
        for name in ("warmup_fraction", "reverse_complement"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} = {getattr(self, name)}: it must be from 0 to 1")
        if not 0 <= self.validation_fraction < 1:
            raise InputError(f"validation_fraction = {self.validation_fraction}: it must be at least 0 and less than 1")
        if not 0 < self.train_fraction <= 1:
            raise InputError(f"train_fraction = {self.train_fraction}: it must be more than 0 and at most 1")
        if not (self.weight_decay >= 0 and math.isfinite(self.weight_decay)):
            raise InputError(f"weight_decay = {self.weight_decay}: it must be at least 0")
        if self.max_length is not None and self.max_length < 1:
            raise InputError(f"max_length = {self.max_length}: it must be at least 1")

    def input_length(self, longest: int) -> int:
        """Positions that every sequence is padded or cut to, where the data set's longest has `longest`.

        With left padding, or all positions pooled, padding is part of the result, so it reaches up to max_length as
        published; with right padding and real positions pooled it changes nothing, and as little as possible is made.
        """
        if self.max_length is None:
            return longest
        no_trace = self.padding == "right" and self.pooling == "real"
        return min(self.max_length, longest) if no_trace else self.max_length


class Batch(NamedTuple):
    """Tokens [B, L] (uint8), real lengths [B] and labels [B], on one device."""

    tokens: Tensor
    lengths: Tensor
    labels: Tensor

    def take(self, index: Tensor | slice) -> Batch:
        return Batch(self.tokens[index], self.lengths[index], self.labels[index])


class Step(NamedTuple):
    """What one optimisation step found, as tensors on the device: mean loss, logits, gradient norm before clipping."""

    loss: Tensor
    logits: Tensor
    gradient_norm: Tensor


@dataclass(frozen=True)
class PreparedData:
    """The three splits as dense tensors on the device, padded alike. Shared by all runs of a worker that need them."""

    train: Batch
    validation: Batch | None
    test: Batch
    num_classes: int

    @classmethod
    def of(cls, dataset: Dataset, config: TrainingConfig, split_seed: int, device: torch.device) -> PreparedData:
        """Cut the splits, pad as the configuration says, move to `device`."""
        if config.split == "regroup":
            dataset = regroup(dataset, split_seed, validation_fraction=config.validation_fraction)
        else:
            dataset = with_validation(dataset, config.validation_fraction, split_seed)
        dataset = training_subset(dataset, config.train_fraction, split_seed)
        length = config.input_length(dataset.longest)

        def batch(split: Split) -> Batch:
            tokens, lengths = padded(split, length, config.padding)
            return Batch(tokens.to(device), lengths.to(device), torch.as_tensor(np.array(split.labels)).to(device))

        validation = batch(dataset.validation) if dataset.validation is not None else None
        return cls(batch(dataset.train), validation, batch(dataset.test), len(dataset.classes))


@dataclass(frozen=True)
class EpochRecord:
    """One row of the epochs table, less the run's name."""

    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    test_loss: float
    test_accuracy: float
    train_s: float
    evaluate_s: float


@dataclass(frozen=True)
class RunResult:
    """A finished run: its epochs, its final scores, and the test logits [N, C] that they come from."""

    epochs: list[EpochRecord]
    validation: Scores | None
    test: Scores
    best_epoch: int | None
    best_epoch_test_accuracy: float | None
    test_logits: np.ndarray
    test_labels: np.ndarray


def learning_rate(step: int, total: int, config: TrainingConfig) -> float:
    """Rate of step `step` (from 0) of `total`: linear from warmup_learning_rate, then a cosine to the final rate."""
    warmup = int(total * config.warmup_fraction)
    peak, first, last = config.learning_rate, config.warmup_learning_rate, config.final_learning_rate
    if step < warmup:
        return first + (peak - first) * step / warmup
    return last + 0.5 * (peak - last) * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def optimizer_for(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW in the two published groups: no decay on the implicit filter, decay on all else (norms and biases too)."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    decayed = [p for name, p in named if not any(part in name for part in FILTER_PARAMETERS)]
    filters = [p for name, p in named if any(part in name for part in FILTER_PARAMETERS)]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": filters, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=True)


def update(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, rate: float, clip: float) -> Tensor:
    """Back-propagate `loss`, clip, step at `rate`; returns the gradient norm before clipping."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return norm


def snapshot(
    model: nn.Module, optimizer: torch.optim.Optimizer, streams: Mapping[str, torch.Generator]
) -> dict[str, Any]:
    """Parameters, optimiser and random streams as plain containers of tensors; buffers are built, not learnt."""
    return {
        "model": {name: parameter.detach() for name, parameter in model.named_parameters()},
        "optimizer": optimizer.state_dict(),
        "streams": {name: generator.get_state() for name, generator in streams.items()},
    }


@torch.no_grad()
def restore(
    state: Mapping[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer, streams: Mapping[str, torch.Generator]
) -> None:
    """Put a `snapshot` back, in place."""
    for name, parameter in model.named_parameters():
        parameter.copy_(state["model"][name])
    optimizer.load_state_dict(state["optimizer"])
    for name, generator in streams.items():
        generator.set_state(state["streams"][name].cpu())


def mixed_precision(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """The context in which a forward pass runs: bfloat16 matrix products where asked for."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def optimisation_step(
    model: Classifier,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    rate: float,
    config: TrainingConfig,
    dropout: torch.Generator | None = None,
) -> Step:
    """One step on one batch. Nothing here waits for the device."""
    with mixed_precision(batch.tokens.device, config.precision):
        logits = model(batch.tokens, batch.lengths, dropout)
    loss = F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), batch.labels)
    norm = update(model, optimizer, loss, rate, config.gradient_clip)
    return Step(loss.detach(), logits.detach(), norm)


@torch.inference_mode()
def predict(model: Classifier, data: Batch, config: TrainingConfig) -> Tensor:
    """Logits [N, C] in float32, without dropout and augmentation."""
    with mixed_precision(data.tokens.device, config.precision):
        pieces = [
            model(data.tokens[start : start + config.batch_size], data.lengths[start : start + config.batch_size])
            for start in range(0, len(data.labels), config.batch_size)
        ]
    return torch.cat(pieces).float()


class Run:
    """One run in progress: `advance()` trains one epoch; `state()` and `resume()` make it survive its process.

    A run that is resumed equals one that was never interrupted, bit for bit on a CPU with as many threads.
    """

    def __init__(self, model: Classifier, data: PreparedData, config: TrainingConfig, seed: int) -> None:
        """`model` initialised already, on the device of `data`."""
        device = data.train.tokens.device
        self.model, self.data, self.config = model, data, config
        self.optimizer = optimizer_for(model, config)
        self.history: list[EpochRecord] = []
        self.steps_per_epoch = math.ceil(len(data.train.labels) / config.batch_size)
        # Order and augmentation are drawn on the CPU, so that they are the same whatever the device.
        self.streams = {
            "order": stream(seed, "order"),
            "augmentation": stream(seed, "augmentation"),
            "dropout": stream(seed, "dropout", device),
        }

    @property
    def finished(self) -> bool:
        return len(self.history) >= self.config.epochs

    def advance(self) -> EpochRecord:
        """Train one epoch, then evaluate. Raises TrainingError where the loss is not a number."""
        epoch, device = len(self.history) + 1, self.data.train.tokens.device
        started = time.perf_counter()
        loss_sum, correct, rate = torch.zeros((), device=device), torch.zeros((), device=device), 0.0
        for step, batch in enumerate(self._batches(), start=(epoch - 1) * self.steps_per_epoch):
            rate = learning_rate(step, self.config.epochs * self.steps_per_epoch, self.config)
            done = optimisation_step(self.model, self.optimizer, batch, rate, self.config, self.streams["dropout"])
            loss_sum += done.loss * len(batch.labels)
            correct += (done.logits.argmax(dim=1) == batch.labels).sum()
        examples = len(self.data.train.labels)
        train_loss = float(loss_sum) / examples  # the first wait for the device in this epoch
        if not math.isfinite(train_loss):
            raise TrainingError(f"the training loss became {train_loss} in epoch {epoch} of {self.config.epochs}")
        trained = time.perf_counter()
        validation = self._evaluate(self.data.validation) if self.data.validation is not None else (None, None)
        test_loss, test_accuracy = self._evaluate(self.data.test)
        record = EpochRecord(
            epoch=epoch,
            learning_rate=rate,
            train_loss=train_loss,
            train_accuracy=float(correct) / examples,
            validation_loss=validation[0],
            validation_accuracy=validation[1],
            test_loss=test_loss,
            test_accuracy=test_accuracy,
            train_s=trained - started,
            evaluate_s=time.perf_counter() - trained,
        )
        self.history.append(record)
        return record

    def _batches(self) -> Iterator[Batch]:
        """The training split once, in a new order, with a new draw of reverse complements; made on the device."""
        train, device = self.data.train, self.data.train.tokens.device
        examples = len(train.labels)
        order = torch.randperm(examples, generator=self.streams["order"]).to(device)
        flipped = torch.rand(examples, generator=self.streams["augmentation"]) < self.config.reverse_complement
        flipped = flipped.to(device)
        for start in range(0, examples, self.config.batch_size):
            batch = train.take(order[start : start + self.config.batch_size])
            flip = flipped[start : start + self.config.batch_size, None]
            turned = reverse_complement(batch.tokens, batch.lengths, self.config.padding)
            yield batch._replace(tokens=torch.where(flip, turned, batch.tokens))

    def _evaluate(self, data: Batch) -> tuple[float, float]:
        """Mean cross-entropy and accuracy on one split."""
        logits = predict(self.model, data, self.config)
        accuracy = (logits.argmax(dim=1) == data.labels).float().mean()
        return float(F.cross_entropy(logits, data.labels)), float(accuracy)

    def result(self) -> RunResult:
        """Final scores of a finished run. Choices (the best epoch) are made on validation, never on test."""
        logits = predict(self.model, self.data.test, self.config).cpu().numpy()
        labels = self.data.test.labels.cpu().numpy()
        validation, best = None, None
        if self.data.validation is not None:
            validation_logits = predict(self.model, self.data.validation, self.config).cpu().numpy()
            validation = score(validation_logits, self.data.validation.labels.cpu().numpy())
            best = max(self.history, key=lambda record: (record.validation_accuracy or 0.0, -record.epoch))
        return RunResult(
            epochs=list(self.history),
            validation=validation,
            test=score(logits, labels),
            best_epoch=best.epoch if best else None,
            best_epoch_test_accuracy=best.test_accuracy if best else None,
            test_logits=logits,
            test_labels=labels,
        )

    def state(self) -> dict[str, Any]:
        """All that the rest of the run depends on: tensors and plain values only, so it loads without pickle code."""
        history = [asdict(record) for record in self.history]
        return {**snapshot(self.model, self.optimizer, self.streams), "history": history}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from what `state()` returned."""
        restore(state, self.model, self.optimizer, self.streams)
        self.history = [EpochRecord(**record) for record in state["history"]]
