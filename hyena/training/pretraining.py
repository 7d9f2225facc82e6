"""Next-nucleotide pretraining: from a genome to weights of any size.

Recipe: HyenaDNA's (AdamW, 6e-4, betas 0.9/0.999, weight decay 0.1 except on the implicit filter, 1 % warm-up, cosine,
gradient norm clipped at 1, bfloat16 on a GPU). Windows start anywhere in the training part of the genome outside its
gaps. The end of every record, or a list of regions, is held out and evaluated on its forward strand. The command is
`python -m hyena.pretrain`. Next: `data/corpus.py`, the genome; `pretraining_folder.py`, the output.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hyena.data.corpus import Corpus, Intervals, read_corpus
from hyena.data.tokenizer import COMPLEMENT, A, T
from hyena.device import sent
from hyena.errors import InputError, first_line
from hyena.model.config import HyenaConfig
from hyena.model.hyenadna import LanguageModel, initialise
from hyena.randomness import stream
from hyena.ranges import (
    INT32,
    MOST_POSITIONS,
    Fraction,
    GradientClip,
    LearningRate,
    Range,
    Seed,
    WeightDecay,
    require_ranges,
)
from hyena.training.optimisation import mixed_precision, optimizer_for, restore, snapshot, update
from hyena.training.recipe import Precision, TrainingConfig, learning_rate
from hyena.training.resumption import misfit_of
from hyena.training.seed_state import TrainingError

__all__ = ["Corpus", "Pretraining", "PretrainingConfig", "PretrainingRecord", "read_corpus"]

PretrainingPrecision = Literal["auto", "float32", "bfloat16"]

BITS_PER_NAT = 1 / math.log(2)


@dataclass(frozen=True)
class PretrainingConfig:
    """How a model size is pretrained.

    Attributes:
        steps: optimisation steps.
        length: nucleotides predicted in each window.
        batch_size: windows per step.
        seed: seed of the initial weights, the windows and the dropout.
        learning_rate, final_learning_rate, warmup_fraction, weight_decay, gradient_clip: as in training.
        reverse_complement: probability of reading a window from the other strand.
        validation_fraction: share of every record, at its end, that is held out.
        hold_out: regions held out instead: records by name, or parts of them as RECORD:FIRST-LAST.
        validation_bases: most bases of the held-out regions that are evaluated, in windows spread evenly over them.
        log_every: steps between two logged losses.
        precision: of matrix products; "auto" is bfloat16 on a GPU and float32 elsewhere.
    """

    steps: Annotated[int, Range(ge=1, le=INT32)]
    length: Annotated[int, Range(ge=1, le=MOST_POSITIONS)] = 1_000
    batch_size: Annotated[int, Range(ge=1, le=1_000_000)] = 64
    seed: Seed = 0
    learning_rate: LearningRate = 6e-4
    final_learning_rate: LearningRate = 6e-5
    warmup_fraction: Fraction = 0.01
    weight_decay: WeightDecay = 0.1
    gradient_clip: GradientClip = 1.0
    reverse_complement: Fraction = 0.5
    validation_fraction: Annotated[float, Range(gt=0, lt=1)] = 0.05
    hold_out: tuple[str, ...] = ()
    validation_bases: Annotated[int, Range(ge=1, le=10**12)] = 2_000_000
    log_every: Annotated[int, Range(ge=1, le=INT32)] = 50
    precision: PretrainingPrecision = "auto"

    def __post_init__(self) -> None:
        require_ranges(self)
        if self.batch_size * self.length > INT32:
            raise InputError(
                f"batch_size = {self.batch_size} and length = {self.length}: a step would take "
                f"{self.batch_size * self.length} nucleotides; it must be at most {INT32}"
            )

    @property
    def schedule(self) -> TrainingConfig:
        """The same recipe as a `TrainingConfig`."""
        return TrainingConfig(
            epochs=1,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            final_learning_rate=self.final_learning_rate,
            warmup_fraction=self.warmup_fraction,
            weight_decay=self.weight_decay,
            gradient_clip=self.gradient_clip,
        )

    def precision_on(self, device: torch.device) -> Precision:
        """The precision on `device`, with "auto" resolved."""
        if self.precision != "auto":
            return self.precision
        return "bfloat16" if device.type == "cuda" else "float32"


@dataclass(frozen=True)
class PretrainingRecord:
    """One row of the pretraining table, without the name of the weights."""

    step: int
    tokens: int
    train_bits_per_base: float
    validation_bits_per_base: float | None
    seconds: float


def require_length(size: HyenaConfig, config: PretrainingConfig) -> None:
    """Raise InputError if the windows are longer than the model's l_max."""
    if config.length > size.l_max:
        raise InputError(f"pretraining length = {config.length}: the model takes at most {size.l_max}")


class Pretraining:
    """A pretraining in progress: `advance()` until it is `finished`; the weights are `model.backbone`'s."""

    def __init__(
        self,
        model_config: HyenaConfig,
        corpus: Corpus,
        config: PretrainingConfig,
        device: torch.device,
        salt: str = "",
    ) -> None:
        """`salt`: of the random streams."""
        require_length(model_config, config)
        train, held_out = corpus.regions(config.validation_fraction, config.hold_out)
        self.starts = _window_starts(train, config.length, f"training part of the corpus ({config.length} + 1 bases)")
        self.held_out = _held_out_starts(held_out, config.length, config.validation_bases)
        self.config, self.device, self.precision = config, device, config.precision_on(device)
        self.tokens = corpus.tokens  # in host memory or on disk: a step needs a few kilobytes of them
        self.complement = torch.from_numpy(np.array(COMPLEMENT)).to(device)
        self.model = LanguageModel(model_config)
        initialise(self.model, config.seed, salt)
        self.model.to(device)
        self.optimizer = optimizer_for(self.model, config.schedule)
        self.streams = {
            "corpus": stream(config.seed, "corpus", salt=salt),
            "dropout": stream(config.seed, "dropout", device, salt),
        }
        self.history: list[PretrainingRecord] = []

    @property
    def finished(self) -> bool:
        return bool(self.history) and self.history[-1].step >= self.config.steps

    def advance(self) -> PretrainingRecord:
        """Train up to the next multiple of `log_every`, or the end; validate after every tenth of the steps.

        Raises TrainingError if the loss is not a number.
        """
        started, config = time.perf_counter(), self.config
        first, seconds = (self.history[-1].step, self.history[-1].seconds) if self.history else (0, 0.0)
        last = min(config.steps, (first // config.log_every + 1) * config.log_every)
        loss_sum = torch.zeros((), device=self.device)
        for step in range(first, last):
            loss_sum += self._step(step)
        train = float(loss_sum) / (last - first) * BITS_PER_NAT
        is_tenth = 10 * first // config.steps < 10 * last // config.steps
        validation = self.validate() if is_tenth and math.isfinite(train) else None
        for loss in (train, validation or 0.0):  # validation shows an error in the last update, too
            if not math.isfinite(loss):
                raise TrainingError(f"the pretraining loss became {loss} by step {last}")
        record = PretrainingRecord(
            step=last,
            tokens=last * config.batch_size * config.length,
            train_bits_per_base=train,
            validation_bits_per_base=validation,
            seconds=seconds + time.perf_counter() - started,
        )
        self.history.append(record)
        return record

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the pretraining depends on, in the form of `Run.state()`."""
        history = [asdict(record) for record in self.history]
        return {**snapshot(self.model, self.optimizer, self.streams), "history": history}

    def resume(self, state: dict[str, Any]) -> None:
        """Continue from what `state()` returned; on a CPU, bit for bit as if uninterrupted.

        Raises InputError with a few words on the reason if the state is damaged or belongs to another pretraining.
        """
        fault = misfit_of(state, self.model, self.optimizer, self.streams)
        if fault is not None:
            raise InputError(fault)
        try:
            history = [PretrainingRecord(**record) for record in state["history"]]
            steps = [record.step for record in history]
            if not steps or steps != sorted(set(steps)) or not 0 < steps[0] <= steps[-1] <= self.config.steps:
                raise InputError("its steps are not of this pretraining")
            restore(state, self.model, self.optimizer, self.streams)
        except (TypeError, LookupError, RuntimeError) as error:
            raise InputError(f"it is damaged ({first_line(error):.80})") from None
        self.history = history

    @torch.inference_mode()
    def validate(self) -> float:
        """Bits per base on the held-out regions, forward strand, in adjacent windows."""
        total, counted = 0.0, 0
        for first in range(0, len(self.held_out), self.config.batch_size):
            loss, bases = self._loss(self._windows(self.held_out[first : first + self.config.batch_size]), None)
            total, counted = total + float(loss), counted + int(bases)
        return total / max(counted, 1) * BITS_PER_NAT

    def _step(self, step: int) -> Tensor:
        config = self.config
        draw = torch.rand(2, config.batch_size, generator=self.streams["corpus"], dtype=torch.float64)
        windows = self._windows(_draw_starts(self.starts, draw[0]).numpy())
        other_strand = self.complement[windows.flip(1).int()]
        reverse_complemented = sent(draw[1] < config.reverse_complement, self.device)
        windows = torch.where(reverse_complemented[:, None], other_strand, windows)
        total, bases = self._loss(windows, self.streams["dropout"])
        loss = total / bases.clamp(min=1)
        update(
            self.model, self.optimizer, loss, learning_rate(step, config.steps, config.schedule), config.gradient_clip
        )
        return loss.detach()

    def _windows(self, starts: NDArray[np.int64]) -> Tensor:
        """First positions [B] to tokens [B, L + 1] on the device."""
        span = np.arange(self.config.length + 1)
        return sent(torch.from_numpy(self.tokens[starts[:, None] + span]), self.device)

    def _loss(self, windows: Tensor, dropout: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Cross-entropy summed over the targets that are A, C, G or T, and their number."""
        with mixed_precision(self.device, self.precision):
            logits = self.model(windows[:, :-1], dropout)
        targets = windows[:, 1:].long()
        targets = torch.where((targets >= A) & (targets <= T), targets, -100)
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="sum")
        return loss, (targets != -100).sum()


def _held_out_starts(regions: Intervals, length: int, most_bases: int) -> NDArray[np.int64]:
    """First positions of adjacent windows in the held-out regions; an evenly spaced subset if there are too many."""
    starts = np.concatenate([np.zeros(0, np.int64), *(np.arange(a, b - length, length) for a, b in regions)])
    if len(starts) == 0:
        raise InputError(f"the held-out part of the corpus is shorter than a window of {length} + 1 bases")
    wanted = min(len(starts), max(1, most_bases // length))
    return starts[np.linspace(0, len(starts) - 1, wanted).round().astype(np.int64)]


def _window_starts(regions: Intervals, length: int, what: str) -> Tensor:
    """Regions long enough for a window of length + 1, as [3, regions]: first start, number of starts, starts before."""
    count = regions[:, 1] - regions[:, 0] - length
    kept = count > 0
    if not kept.any():
        raise InputError(f"no record is long enough for a window in the {what}")
    counts = count[kept]
    return torch.from_numpy(np.stack([regions[kept, 0], counts, np.cumsum(counts) - counts]))


def _draw_starts(starts: Tensor, uniform: Tensor) -> Tensor:
    """Uniform draws in [0, 1) to window starts, uniform over all allowed starts."""
    first, counts, before = starts
    number = (uniform * counts.sum()).long()
    region = torch.searchsorted(before, number, right=True) - 1
    return first[region] + number - before[region]
