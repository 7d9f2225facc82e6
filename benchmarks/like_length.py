"""How much faster are an epoch and an evaluation in batches of like length than in batches padded to the longest?

Sequences of 70 to 500 letters (uniform; mean 285, as the Ensembl sets have), one thread, CPU time; one epoch each,
after a warm-up step. Prints JSON, and writes it to `--output`.

    python benchmarks/like_length.py -o benchmarks/results/like_length_cpu.json
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import add_output, finish, header
from hyena.data.sequences import dataset_from_sequences
from hyena.model.config import HyenaConfig
from hyena.model.hyenadna import Classifier, initialise
from hyena.randomness import numpy_stream
from hyena.training.loop import PreparedData, Run
from hyena.training.optimisation import predict
from hyena.training.recipe import Batching, TrainingConfig


def seconds(part: Callable[[], object]) -> float:
    started = time.process_time()
    part()
    return round(time.process_time() - started, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=640)
    parser.add_argument("--d-model", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    add_output(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = numpy_stream(0, "tasks")
    made = [
        (rng.choice([65, 67, 71, 84], n).astype("uint8").tobytes(), n % 2)
        for n in rng.integers(70, 501, options.examples)
    ]
    dataset = dataset_from_sequences("made", ("even", "odd"), made, made)
    found: dict[str, object] = {}
    batchings: tuple[Batching, ...] = ("shuffled", "like_length")
    for batching in batchings:
        config = TrainingConfig(epochs=2, batch_size=options.batch, batching=batching, validation_fraction=0)
        model = Classifier(HyenaConfig(options.d_model, 2, 1_026), 2, config.pooling, config.padding)
        initialise(model, 0)
        data = PreparedData.of(dataset, config, 0, torch.device("cpu"))
        run = Run(model, data, config, 0)
        found[f"positions an epoch, {batching}"] = sum(batch.tokens.numel() for batch in run._batches(run._begin()))
        predict(model, data.test.take(slice(0, options.batch)), config)
        found[f"training epoch, {batching} [s]"] = seconds(run._train)
    as_stored = dataclasses.replace(config, batching="shuffled", pooling="all")  # as if padding changed results
    found["evaluation, padded [s]"] = seconds(lambda: predict(model, data.test, as_stored))
    found["evaluation, sorted by length [s]"] = seconds(lambda: predict(model, data.test, config))
    finish(header(__doc__.splitlines()[0], None, options) | {"found": found}, options.output)


if __name__ == "__main__":
    main()
