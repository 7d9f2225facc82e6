"""Training of classifiers, epoch by epoch, with every random draw from a named stream: the loop, and a single run.

Deviations from the original study's code, each of which fixes an error: no optimiser step after evaluation, no
augmentation of test sequences, and the best epoch is chosen on a validation split. Next: `seed_state.py`, what belongs
to one seed; `stacked_run.py`, several seeds in one loop; `metrics.py`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hyena.data.batches import Batch, batch_widths, flip_rows, like_length_order, padded
from hyena.data.sequences import Dataset, Split
from hyena.data.subsets import training_subset, with_validation
from hyena.device import wait_for
from hyena.leakage.regroup import regroup
from hyena.model.hyenadna import Classifier
from hyena.model.stacked import StackedClassifier
from hyena.randomness import Dropout, stream
from hyena.training.cuda_graphs import stepper
from hyena.training.metrics import Scores, score
from hyena.training.optimisation import Step, mean_loss, optimizer_for, predict, restore, snapshot
from hyena.training.recipe import TrainingConfig, learning_rate
from hyena.training.seed_state import Epoch, EpochRecord, Progress, TrainingError


@dataclass(frozen=True)
class PreparedData:
    """The three splits as dense tensors on the device, padded to one length. Runs of a worker may share them."""

    train: Batch
    validation: Batch | None
    test: Batch
    num_classes: int

    @classmethod
    def of(cls, dataset: Dataset, config: TrainingConfig, split_seed: int, device: torch.device) -> PreparedData:
        """Make the splits, pad them as the configuration says, and move them to `device`."""
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

    @property
    def evaluated(self) -> dict[str, Batch]:
        """The splits that are evaluated after every epoch, by name."""
        held_out = {"validation": self.validation} if self.validation is not None else {}
        return {**held_out, "test": self.test}


@dataclass(frozen=True)
class RunResult:
    """A finished run: its epochs, its final scores, and the test logits [N, C] from which they were computed."""

    epochs: list[EpochRecord]
    validation: Scores | None
    test: Scores
    best_epoch: int | None
    best_epoch_test_accuracy: float | None
    test_logits: np.ndarray
    test_labels: np.ndarray


class Training:
    """The loop: trains the seeds of one cell in step, each with its own streams and history, in one model.

    The model is a `Classifier` for one seed. For several it is a stack: its parameters, and with them batches, losses
    and logits, have a leading seed axis.
    """

    def __init__(
        self,
        model: nn.Module,
        data: PreparedData,
        config: TrainingConfig,
        seeds: Sequence[int],
        captured: bool = False,
        salt: str = "",
    ) -> None:
        """`captured`: whether steps are replayed as CUDA graphs, which changes no number; on CUDA only.

        `salt`: of the random streams, as the model was initialised with.

        `pause` may be set to a function that is called after each step: when it returns True, the epoch is interrupted,
        so that `state()` can save it, and the next call continues it.
        """
        self.model, self.data, self.config, self.captured, self.salt = model, data, config, captured, salt
        self.stacked = isinstance(model, StackedClassifier)
        self.device = data.train.tokens.device
        self.optimizer = optimizer_for(model, config)
        self.progress = [Progress.of(seed, self.device, salt) for seed in seeds]
        self.lengths = data.train.lengths.cpu()
        self.steps_per_epoch = math.ceil(len(self.lengths) / config.batch_size)
        self.step: Callable[[Batch, float], Step] | None = None  # created at the first step
        self.under_way: Epoch | None = None
        self.pause: Callable[[], bool] = lambda: False

    @property
    def running(self) -> list[Progress]:
        """The seeds that have not failed, which are those in the model, in its order."""
        return [seed for seed in self.progress if seed.error is None]

    @property
    def epochs_done(self) -> int:
        return max(len(seed.history) for seed in self.progress)

    @property
    def finished(self) -> bool:
        return not self.running or self.epochs_done >= self.config.epochs

    def train_and_evaluate(self) -> None:
        """One epoch of all running seeds, or the rest of it, up to where `pause` interrupts it.

        A seed whose loss is not a number fails before the evaluation; the others continue.
        """
        trained = self._train()
        if trained.steps < self.steps_per_epoch:
            return
        self.under_way = None
        seeds, epoch = self.running, self.epochs_done + 1
        means = torch.stack([trained.loss, trained.correct]).double() / len(self.lengths)
        losses, accuracies = means.tolist()
        for seed, loss in zip(seeds, losses, strict=True):
            if not math.isfinite(loss):
                where = f"epoch {epoch} of {self.config.epochs}"
                seed.error = TrainingError(f"the training loss became {loss} in {where}")
        kept = [place for place, seed in enumerate(seeds) if seed.error is None]
        if len(kept) < len(seeds):
            self._keep(kept)
        if not kept:
            return
        started = time.perf_counter()
        measured = self._evaluate()
        seconds = {"train_s": trained.train_s, "evaluate_s": (time.perf_counter() - started) / len(kept)}
        rate = self._rate(epoch * self.steps_per_epoch - 1)
        for place, scores in zip(kept, measured, strict=True):
            record = EpochRecord(epoch, rate, losses[place], accuracies[place], **scores, **seconds)
            seeds[place].history.append(record)

    def _train(self) -> Epoch:
        """Take the remaining steps of an epoch, up to a pause."""
        started = time.perf_counter()
        epoch = self.under_way = self.under_way or self._begin()
        take_step = self.step = self.step or self._new_step()
        for batch in self._batches(epoch):
            done = take_step(batch, self._rate(self.epochs_done * self.steps_per_epoch + epoch.steps))
            epoch.loss += done.loss * batch.labels.shape[-1]
            epoch.correct += (done.logits.argmax(dim=-1) == batch.labels).sum(dim=-1)
            epoch.steps += 1
            if self.pause():
                break
        wait_for(self.device)  # the last steps count as training time
        epoch.train_s += (time.perf_counter() - started) / len(self.running)
        return epoch

    def _rate(self, step: int) -> float:
        return learning_rate(step, self.config.epochs * self.steps_per_epoch, self.config)

    def _begin(self) -> Epoch:
        """The next epoch, with each seed's draw of the order and of the reverse complements."""
        orders, strands = zip(*(self._draw(seed.streams) for seed in self.running), strict=True)
        loss, correct = torch.zeros(2, len(self.running), device=self.device).unbind()
        return Epoch(torch.stack(orders), torch.stack(strands), loss, correct)

    def _new_step(self) -> Callable[[Batch, float], Step]:
        """A training step on the model, the optimiser and the streams that are there now."""
        streams = [seed.streams["dropout"] for seed in self.running]
        dropout: Dropout = streams if self.stacked else streams[0]
        return stepper(self.model, self.optimizer, self.config, dropout, self.captured)

    def _batches(self, epoch: Epoch) -> Iterator[Batch]:
        """The batches of the epoch's remaining steps, assembled on the device."""
        train, size = self.data.train, self.config.batch_size
        order, reverse_complemented = epoch.order, epoch.reverse_complemented
        if not self.stacked:
            order, reverse_complemented = order[0], reverse_complemented[0]
        longest = train.tokens.shape[1]
        widths = [longest] * self.steps_per_epoch
        if self.config.batching == "like_length":
            widths = batch_widths(self.lengths[order], size, longest)
        order = order.to(self.device)
        for number in range(epoch.steps, self.steps_per_epoch):
            place = (..., slice(number * size, (number + 1) * size))
            batch = train.take(order[place], widths[number])
            flip_rows(batch.tokens, batch.lengths, reverse_complemented[place], self.config.padding)
            yield batch

    def _draw(self, streams: Mapping[str, torch.Generator]) -> tuple[Tensor, Tensor]:
        """One seed's next epoch: the examples in the order of its steps [N], and which are reverse-complemented [N]."""
        examples = len(self.lengths)
        order = torch.randperm(examples, generator=streams["order"])
        reverse_complemented = torch.rand(examples, generator=streams["augmentation"]) < self.config.reverse_complement
        if self.config.batching == "like_length":
            batch_order = stream(self.epochs_done + 1, "turn", salt=self.salt)
            order = like_length_order(self.lengths, order, self.config.batch_size, batch_order)
        return order, reverse_complemented

    def _evaluate(self) -> list[dict[str, Any]]:
        """Mean cross-entropy and accuracy of each running seed, as EpochRecord names them; also stores the logits."""
        seeds = self.running
        measured: list[dict[str, Any]] = [
            {f"{name}_{what}": None for name in ("validation", "test") for what in ("loss", "accuracy")} for _ in seeds
        ]
        for name, split in self.data.evaluated.items():
            logits = predict(self.model, split, self.config)
            logits = (logits if self.stacked else logits[None]).cpu()
            labels = split.labels.cpu().expand(logits.shape[:-1])
            losses, right = mean_loss(logits, labels), (logits.argmax(dim=-1) == labels).sum(dim=-1)
            for place, seed in enumerate(seeds):
                seed.logits[name] = logits[place]
                accuracy = int(right[place]) / len(split.labels)  # exact, so that equal epochs tie
                measured[place] |= {f"{name}_loss": float(losses[place]), f"{name}_accuracy": accuracy}
        return measured

    def state_of(self, seed: Progress, place: int) -> dict[str, Any]:
        """One seed's state, with its part of the epoch under way, in which it is at `place`."""
        under_way = {"under_way": self.under_way.state_of(place)} if self.under_way else {}
        return {**seed.state(), **under_way}

    def resume_epoch(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Continue the epoch in which these seeds, all at the same step, were interrupted, if they were."""
        begun = [state["under_way"] for state in states if "under_way" in state]
        self.under_way = Epoch.joined(begun, self.device) if begun else None

    def _keep(self, places: list[int]) -> None:
        """Remove the seeds at all other places from the model."""
        self.step = None

    def result_of(self, seed: Progress) -> RunResult:
        """Final scores of a finished seed. Choices (the best epoch) are made on validation, never on test."""
        if not seed.logits:  # the run was resumed after its last epoch
            self._evaluate()
        scores = {
            name: score(seed.logits[name].numpy(), split.labels.cpu().numpy())
            for name, split in self.data.evaluated.items()
        }
        best = None
        if "validation" in scores:
            best = max(seed.history, key=lambda record: (record.validation_accuracy or 0.0, -record.epoch))
        return RunResult(
            epochs=list(seed.history),
            validation=scores.get("validation"),
            test=scores["test"],
            best_epoch=best.epoch if best else None,
            best_epoch_test_accuracy=best.test_accuracy if best else None,
            test_logits=seed.logits["test"].numpy(),
            test_labels=self.data.test.labels.cpu().numpy(),
        )


class Run(Training):
    """One run in progress: `advance()` trains one epoch; `state()` and `resume()` carry it to another process.

    A resumed run equals an uninterrupted one, bit for bit on a CPU with the same number of threads.
    """

    def __init__(
        self,
        model: Classifier,
        data: PreparedData,
        config: TrainingConfig,
        seed: int,
        captured: bool = False,
        salt: str = "",
    ) -> None:
        """`model`: already initialised, on the device of `data`."""
        super().__init__(model, data, config, [seed], captured, salt)

    @property
    def history(self) -> list[EpochRecord]:
        return self.progress[0].history

    @property
    def streams(self) -> dict[str, torch.Generator]:
        return self.progress[0].streams

    def advance(self) -> EpochRecord:
        """Train one epoch, then evaluate. Raises TrainingError where the loss is not a number."""
        self.train_and_evaluate()
        if self.progress[0].error is not None:
            raise self.progress[0].error
        return self.history[-1]

    def result(self) -> RunResult:
        """Final scores of a finished run."""
        return self.result_of(self.progress[0])

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on, as tensors and plain values: no code is unpickled."""
        return {**snapshot(self.model, self.optimizer, {}), **self.state_of(self.progress[0], 0)}

    def resume(self, state: dict[str, Any]) -> None:
        """Continue from what `state()` returned."""
        self._keep([0])
        restore(state, self.model, self.optimizer, {})
        self.progress[0].resume(state)
        self.resume_epoch([state])
