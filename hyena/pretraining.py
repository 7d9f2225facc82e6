"""Next-nucleotide pretraining: from a genome to weights of any size.

Recipe: HyenaDNA's (AdamW, 6e-4, betas 0.9/0.999, weight decay 0.1 except on the implicit filter, 1 % warm-up, cosine,
gradient norm clipped at 1). Windows start anywhere in the training part of the genome; the end of every record is held
out, and measured on its forward strand. The command is `python -m hyena.pretrain`.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hyena.config import HyenaConfig
from hyena.errors import InputError
from hyena.model import LanguageModel, initialise
from hyena.randomness import stream
from hyena.tokenizer import COMPLEMENT, A, T, encode
from hyena.training import (
    Precision,
    TrainingConfig,
    TrainingError,
    learning_rate,
    mixed_precision,
    optimizer_for,
    restore,
    snapshot,
    update,
)

BITS_PER_NAT = 1 / math.log(2)


@dataclass(frozen=True)
class PretrainingConfig:
    """How a size is pretrained.

    Attributes:
        steps: optimisation steps.
        length: nucleotides predicted in each window.
        batch_size: windows per step.
        seed: of the initial weights, the windows and the dropout.
        learning_rate, final_learning_rate, warmup_fraction, weight_decay, gradient_clip: as in training.
        reverse_complement: probability of reading a window from the other strand.
        validation_fraction: share of every record, at its end, that is held out.
        log_every: steps between two logged losses.
        precision: of matrix products.
    """

    steps: int
    length: int = 1_000
    batch_size: int = 64
    seed: int = 0
    learning_rate: float = 6e-4
    final_learning_rate: float = 6e-5
    warmup_fraction: float = 0.01
    weight_decay: float = 0.1
    gradient_clip: float = 1.0
    reverse_complement: float = 0.5
    validation_fraction: float = 0.05
    log_every: int = 50
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for name in ("steps", "length", "batch_size", "log_every"):
            if getattr(self, name) < 1:
                raise InputError(f"pretraining {name} = {getattr(self, name)}: it must be at least 1")
        if not 0 < self.validation_fraction < 1:
            raise InputError(
                f"pretraining validation_fraction = {self.validation_fraction}: it must be between 0 and 1"
            )

    @property
    def schedule(self) -> TrainingConfig:
        """The same recipe in the words of `training.py`."""
        return TrainingConfig(
            epochs=1,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            final_learning_rate=self.final_learning_rate,
            warmup_fraction=self.warmup_fraction,
            weight_decay=self.weight_decay,
            gradient_clip=self.gradient_clip,
            precision=self.precision,
        )


@dataclass(frozen=True)
class PretrainingRecord:
    """One row of the pretraining table, less the weights' name."""

    step: int
    tokens: int
    train_bits_per_base: float
    validation_bits_per_base: float | None
    seconds: float


class Corpus:
    """Tokens of all records end to end, and where each record begins and ends.

    Attributes:
        tokens: uint8 [total].
        offsets: int64 [records + 1].
        digest: SHA-256 of both.
    """

    def __init__(self, records: Iterable[NDArray[np.uint8]]) -> None:
        """`records`: tokens of each record, as `read_fasta` and `encode` give them."""
        held = [record for record in records if len(record)]
        if not held:
            raise InputError("the corpus holds no sequence")
        self.tokens = np.concatenate(held)
        self.offsets = np.cumsum([0, *map(len, held)])
        self.digest = hashlib.sha256(self.tokens.tobytes() + self.offsets.tobytes()).hexdigest()

    def regions(self, validation_fraction: float) -> tuple[np.ndarray, np.ndarray]:
        """Training and held-out stretches, each [records, 2] of first and past-the-end position."""
        start, end = self.offsets[:-1], self.offsets[1:]
        cut = end - np.round((end - start) * validation_fraction).astype(np.int64)
        return np.stack([start, cut], axis=1), np.stack([cut, end], axis=1)


def read_fasta(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Tokens of each record of a FASTA file, plain or gzipped. InputError names the file, and the record or line."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            name, letters = "", None
            for number, line in enumerate(lines, start=1):
                if line.startswith(b">"):
                    if letters is not None:
                        yield _encoded(path, name, letters)
                    name, letters = line[1:].decode("utf-8", "replace").strip(), bytearray()
                elif letters is None:
                    raise InputError(f"{path}, line {number}: a FASTA file begins with '>' and a name")
                else:
                    letters += line.strip()
            if letters is None:
                raise InputError(f"{path}: the file is empty; a FASTA file was expected")
            yield _encoded(path, name, letters)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error


def _encoded(path: Path, name: str, letters: bytearray) -> NDArray[np.uint8]:
    try:
        return encode(bytes(letters))
    except InputError as error:
        raise InputError(f"{path}, record '{name}', {error}") from None


def read_corpus(paths: Iterable[Path]) -> Corpus:
    """All records of all files, in order."""
    return Corpus(record for path in paths for record in read_fasta(path))


class Pretraining:
    """A pretraining in progress: `advance()` until it is `finished`; the weights are `model.backbone`'s."""

    def __init__(
        self, model_config: HyenaConfig, corpus: Corpus, config: PretrainingConfig, device: torch.device
    ) -> None:
        if config.length > model_config.l_max:
            raise InputError(f"pretraining length = {config.length}: the model takes at most {model_config.l_max}")
        train, held_out = corpus.regions(config.validation_fraction)
        self.starts = _window_starts(train, config.length, f"training part of the corpus ({config.length} + 1 bases)")
        self.held_out = np.concatenate([np.arange(a, b - config.length, config.length) for a, b in held_out])
        if len(self.held_out) == 0:
            raise InputError(f"the held-out part of the corpus is shorter than a window of {config.length} + 1 bases")
        self.config, self.device = config, device
        self.tokens = torch.from_numpy(corpus.tokens).to(device)
        self.complement = torch.from_numpy(np.array(COMPLEMENT)).to(device)
        self.model = LanguageModel(model_config)
        initialise(self.model, config.seed)
        self.model.to(device)
        self.optimizer = optimizer_for(self.model, config.schedule)
        self.streams = {"corpus": stream(config.seed, "corpus"), "dropout": stream(config.seed, "dropout", device)}
        self.history: list[PretrainingRecord] = []

    @property
    def finished(self) -> bool:
        return bool(self.history) and self.history[-1].step >= self.config.steps

    def advance(self) -> PretrainingRecord:
        """Train up to the next multiple of `log_every`, or the end; validate where a tenth of the way was passed.

        Raises TrainingError where the loss is not a number.
        """
        started, config = time.perf_counter(), self.config
        first, seconds = (self.history[-1].step, self.history[-1].seconds) if self.history else (0, 0.0)
        last = min(config.steps, (first // config.log_every + 1) * config.log_every)
        loss_sum = torch.zeros((), device=self.device)
        for step in range(first, last):
            loss_sum += self._step(step)
        train = float(loss_sum) / (last - first) * BITS_PER_NAT
        if not math.isfinite(train):
            raise TrainingError(f"the pretraining loss became {train} by step {last}")
        record = PretrainingRecord(
            step=last,
            tokens=last * config.batch_size * config.length,
            train_bits_per_base=train,
            validation_bits_per_base=self.validate()
            if 10 * first // config.steps < 10 * last // config.steps
            else None,
            seconds=seconds + time.perf_counter() - started,
        )
        self.history.append(record)
        return record

    def state(self) -> dict[str, Any]:
        """All that the rest of the pretraining depends on, as `Run.state()` gives it."""
        history = [asdict(record) for record in self.history]
        return {**snapshot(self.model, self.optimizer, self.streams), "history": history}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from what `state()` returned: equal, bit for bit on a CPU, to never having stopped."""
        restore(state, self.model, self.optimizer, self.streams)
        self.history = [PretrainingRecord(**record) for record in state["history"]]

    @torch.inference_mode()
    def validate(self) -> float:
        """Bits per base on the held-out stretches, forward strand, in windows side by side."""
        total, counted = 0.0, 0
        for first in range(0, len(self.held_out), self.config.batch_size):
            window = self._windows(torch.from_numpy(self.held_out[first : first + self.config.batch_size]))
            loss, bases = self._loss(window, None, "sum")
            total, counted = total + float(loss), counted + int(bases)
        return total / max(counted, 1) * BITS_PER_NAT

    def _step(self, step: int) -> Tensor:
        config = self.config
        draw = torch.rand(2, config.batch_size, generator=self.streams["corpus"], dtype=torch.float64)
        windows = self._windows(_draw_starts(self.starts, draw[0]))
        turned = self.complement[windows.flip(1).int()]
        flip = (draw[1] < config.reverse_complement).to(self.device)
        loss, _ = self._loss(torch.where(flip[:, None], turned, windows), self.streams["dropout"], "mean")
        update(
            self.model, self.optimizer, loss, learning_rate(step, config.steps, config.schedule), config.gradient_clip
        )
        return loss.detach()

    def _windows(self, starts: Tensor) -> Tensor:
        """[B] first positions to tokens [B, L + 1]."""
        span = torch.arange(self.config.length + 1)
        return self.tokens[(starts[:, None] + span).to(self.device)]

    def _loss(self, windows: Tensor, dropout: torch.Generator | None, reduction: str) -> tuple[Tensor, Tensor]:
        """Cross-entropy over the targets that are A, C, G or T, and the number of these."""
        with mixed_precision(self.device, self.config.precision):
            logits = self.model(windows[:, :-1], dropout)
        targets = windows[:, 1:].long()
        targets = torch.where((targets >= A) & (targets <= T), targets, -100)
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction=reduction)
        return loss, (targets != -100).sum()


def _window_starts(regions: np.ndarray, length: int, what: str) -> Tensor:
    """Regions that hold a window of length + 1, as [3, regions]: first start, number of starts, starts before it."""
    count = regions[:, 1] - regions[:, 0] - length
    kept = count > 0
    if not kept.any():
        raise InputError(f"no record is long enough for a window in the {what}")
    counts = count[kept]
    return torch.from_numpy(np.stack([regions[kept, 0], counts, np.cumsum(counts) - counts]))


def _draw_starts(starts: Tensor, uniform: Tensor) -> Tensor:
    """Uniform draws in [0, 1) to window starts, uniform over all allowed ones."""
    first, counts, before = starts
    number = (uniform * counts.sum()).long()
    region = torch.searchsorted(before, number, right=True) - 1
    return first[region] + number - before[region]
