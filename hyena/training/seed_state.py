"""What belongs to one seed in training: its random streams, its epochs, and its part of the epoch under way.

All of it can be saved and resumed, with any other seeds or alone. Next: `loop.py`, which trains seeds in step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from hyena.randomness import put_state, stream

#: Names in saved states that differ from the fields' names: states saved under them must stay readable.
SAVED_AS = {"reverse_complemented": "flipped"}


class TrainingError(RuntimeError):
    """The run cannot continue: its loss is not a number."""


@dataclass(frozen=True)
class EpochRecord:
    """One row of the epochs table, without the run's name. Seeds trained together share the seconds equally."""

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


@dataclass
class Progress:
    """A seed in training: its random streams, its epochs, its last logits by split, and its error if it failed."""

    streams: dict[str, torch.Generator]
    history: list[EpochRecord] = field(default_factory=list)
    logits: dict[str, Tensor] = field(default_factory=dict)
    error: TrainingError | None = None

    @classmethod
    def of(cls, seed: int, device: torch.device, salt: str = "") -> Progress:
        """A seed before its first epoch. Order and augmentation are drawn on the CPU, so no device changes them."""
        return cls(
            {
                "order": stream(seed, "order", salt=salt),
                "augmentation": stream(seed, "augmentation", salt=salt),
                "dropout": stream(seed, "dropout", device, salt),
            }
        )

    def state(self) -> dict[str, Any]:
        """Streams and history, as tensors and plain values."""
        streams = {name: generator.get_state() for name, generator in self.streams.items()}
        return {"streams": streams, "history": [asdict(record) for record in self.history]}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state()` returned."""
        for name, generator in self.streams.items():
            put_state(generator, state["streams"][name])
        self.history, self.logits = [EpochRecord(**record) for record in state["history"]], {}


@dataclass
class Epoch:
    """An epoch under way, of S seeds.

    Attributes:
        order: [S, N], the examples in the order of each seed's steps; on the CPU.
        reverse_complemented: [S, N], which examples, in that order, are reverse-complemented; on the CPU.
        loss, correct: [S], sums over the examples of the steps taken.
        steps: number of steps taken.
        train_s: seconds of each seed.
    """

    order: Tensor
    reverse_complemented: Tensor
    loss: Tensor
    correct: Tensor
    steps: int = 0
    train_s: float = 0.0

    def state_of(self, place: int) -> dict[str, Any]:
        """One seed's part, to be saved."""
        values = {SAVED_AS.get(item.name, item.name): getattr(self, item.name) for item in fields(self)}
        return {name: value[place].clone() if torch.is_tensor(value) else value for name, value in values.items()}

    @classmethod
    def joined(cls, states: Sequence[Mapping[str, Any]], device: torch.device) -> Epoch:
        """From the parts of seeds that have taken equally many steps; the sums on `device`."""
        order, reverse_complemented, loss, correct = (
            torch.stack([state[SAVED_AS.get(name, name)].to(where) for state in states])
            for name, where in (
                ("order", "cpu"),
                ("reverse_complemented", "cpu"),
                ("loss", device),
                ("correct", device),
            )
        )
        return cls(order, reverse_complemented, loss, correct, states[0]["steps"], states[0]["train_s"])


def position(state: Mapping[str, Any] | None) -> tuple[int, int]:
    """Epochs completed, and steps taken of the next, of a run with that `state()`; None is a run not started."""
    if state is None:
        return 0, 0
    return len(state["history"]), state["under_way"]["steps"] if "under_way" in state else 0
