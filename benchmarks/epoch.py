"""How long does one whole epoch of training take, from the sequences' home to the last update?

`published`: a text file and a Python tokenizer per sequence, padding to 500, float32, the loss read every step
(`published_way.py`). `ours`: `hyena.training.loop.Run`, tokens kept as uint8, as a sweep trains. Synthetic letters with
the lengths of a published data set's (mean 269 of 2 to 573 positions, as human_enhancers_ensembl) and as many sequences
as asked for; the files are in the page cache. Evaluation is not counted. One epoch each in turn, medians of n, after
one that warms up. Rates are per second of CPU on a CPU, per second by the clock on a GPU; letters are counted unpadded.

    python benchmarks/epoch.py --sequences 2000 -o epoch.json
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import published_way
from benchmarks.machine import add_options, alternate, finish, header, matrix_rate, peak_bytes
from benchmarks.training_step import DTYPE, model_flop, rates
from hyena.data.sequences import Dataset, dataset_from_sequences
from hyena.model.config import PUBLISHED
from hyena.model.hyenadna import Classifier, initialise
from hyena.training.loop import PreparedData, Run
from hyena.training.recipe import Precision, TrainingConfig

PADDED_TO = 500


def sequences(count: int) -> list[tuple[bytes, int]]:
    """Lengths by a gamma law with the mean and spread of the published enhancers."""
    rng = np.random.default_rng(0)
    return random_letters(np.clip(rng.gamma(shape=5.2, scale=269 / 5.2, size=count).astype(int), 2, 573), rng)


def random_letters(lengths: Iterable[int], rng: np.random.Generator) -> list[tuple[bytes, int]]:
    """Letters and class of sequences of these lengths."""
    letters = np.frombuffer(b"ACGT", np.uint8)
    return [(letters[rng.integers(0, 4, length)].tobytes(), i % 2) for i, length in enumerate(lengths)]


def write(examples: list[tuple[bytes, int]], folder: Path) -> Path:
    for i, (sequence, label) in enumerate(examples):
        (folder / str(label)).mkdir(exist_ok=True)
        (folder / str(label) / f"{i}.txt").write_bytes(sequence)
    return folder


def ours(dataset: Dataset, name: str, config: TrainingConfig, device: torch.device, captured: bool = False) -> Run:
    """A run of a published size, at its start."""
    model = Classifier(PUBLISHED[f"hyenadna-{name}"], 2, config.pooling, config.padding)
    initialise(model, 0)
    return Run(model.to(device), PreparedData.of(dataset, config, 0, device), config, 0, captured)


def training(batch: int, precision: Precision = "float32", **values: Any) -> TrainingConfig:
    """How all ways are trained: for more epochs than are measured, the whole training split."""
    return TrainingConfig(
        epochs=10_000, batch_size=batch, max_length=PADDED_TO, validation_fraction=0, precision=precision, **values
    )


def published(
    files: published_way.TextFiles, model: published_way.Classifier, config: TrainingConfig, device: torch.device
) -> Callable[[], Any]:
    """An epoch of the published way, to be called as often as wanted."""
    optimizer = published_way.optimizer(model, config)
    return lambda: list(published_way.epoch(model, optimizer, files, config, device))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["tiny-1k-seqlen"], help="published names, less hyenadna-")
    parser.add_argument("--sequences", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--precision", choices=list(DTYPE), default="float32", help="of ours")
    add_options(parser, repeats=3)
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)
    rate = matrix_rate(device, DTYPE[options.precision])
    examples = sequences(options.sequences)
    letters = sum(min(PADDED_TO, len(sequence)) for sequence, _ in examples)
    dataset = dataset_from_sequences("made", ["0", "1"], examples, examples[:2])
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files = published_way.TextFiles(write(examples, Path(folder)), PADDED_TO, reverse_complement=True)
        for name in options.models:
            baseline = published_way.Classifier(PUBLISHED[f"hyenadna-{name}"], 2).to(device)
            works = {
                "published": published(files, baseline, training(options.batch), device),
                "ours": ours(dataset, name, training(options.batch, options.precision), device).advance,
            }
            for way, took in alternate(works, device, options.repeats, warm_up=1).items():
                flop = model_flop(PUBLISHED[f"hyenadna-{name}"], letters)
                rows.append({"model": name, "way": way, **rates(took, flop, letters, rate, device),
                             "peak_bytes": peak_bytes(works[way], device)})  # fmt: skip
    question = __doc__.splitlines()[0]
    head = header(question, device, options) | {"letters": letters, "matrix_flop_per_s": float(f"{rate:.4g}")}
    finish(head | {"rows": rows}, options.output)


if __name__ == "__main__":
    main()
