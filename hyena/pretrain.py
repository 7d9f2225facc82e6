"""`python -m hyena.pretrain FASTA…`: next-nucleotide pretraining of a size on any genome.

Writes `model.safetensors` and `config.json` (the layout of the published -hf repositories), which a study takes with
`--weights`. Killed and called again, it goes on from where it last saved (every few minutes). Next: `pretraining.py`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch

from hyena import terminal
from hyena.checkpoint import save_weights
from hyena.config import BESIDE_THE_SHAPE, PUBLISHED, HyenaConfig, published
from hyena.corpus import read_corpus
from hyena.errors import InputError
from hyena.pretraining import Pretraining, PretrainingConfig, PretrainingPrecision
from hyena.training import TrainingError

UNFINISHED = "unfinished.pt"
SAVE_EVERY_S = 300.0
SHAPE = ("d_model", "n_layer", "l_max")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Exit code 0 when the weights are written, 1 when the loss ran away, 2 for a wrong request."""
    return terminal.command(
        lambda: _pretrain(_parser().parse_args(arguments)),
        "interrupted; the same command goes on from where it last saved",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hyena.pretrain", description="Pretrain a size on genomes.")
    parser.add_argument("fasta", nargs="+", type=Path, metavar="FASTA", help="genomes, plain or gzipped")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the weights")
    parser.add_argument("--model", metavar="NAME", help="a published size; or give a shape:")
    for field in dataclasses.fields(HyenaConfig):
        _add_option(parser, field, None)
    for field in dataclasses.fields(PretrainingConfig):
        _add_option(parser, field, field.default)
    return parser


def _add_option(parser: argparse.ArgumentParser, field: dataclasses.Field[Any], default: Any) -> None:
    """A dataclass's field as an option; without a default of its own it is required, unless `default` is None."""
    name, missing = f"--{field.name.replace('_', '-')}", default is dataclasses.MISSING
    shown = "required" if missing else f"default {field.default}" if field.default is not dataclasses.MISSING else None
    choices = get_args(PretrainingPrecision) if field.name == "precision" else None
    if isinstance(field.default, bool):
        parser.add_argument(name, action="store_const", const=True, help="off by default")
    elif isinstance(field.default, tuple):
        parser.add_argument(name, action="append", metavar="REGION", help="RECORD or RECORD:FIRST-LAST; repeatable")
    else:
        kind: Any = int if field.default is dataclasses.MISSING else type(field.default)
        parser.add_argument(
            name, type=kind, required=missing, choices=choices, default=None if missing else default, help=shown
        )


def _pretrain(options: argparse.Namespace) -> int:
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(PretrainingConfig)}
    config = PretrainingConfig(**{**values, "hold_out": tuple(options.hold_out or ())})
    model_config = _size(options)
    corpus = read_corpus(options.fasta)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run = Pretraining(model_config, corpus, config, device)
    print(f"{len(corpus.names)} records, {len(corpus.tokens):,} bases; {run.precision} on {device}", flush=True)
    size = dataclasses.replace(model_config, checkpoint_activations=False)  # it may change on the way
    recipe = json.dumps([dataclasses.asdict(size), dataclasses.asdict(config), corpus.digest])
    checkpoint = options.output / UNFINISHED
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        if saved["recipe"] != recipe:
            raise InputError(
                f"{checkpoint} is of another pretraining (size, recipe or genome): choose another --output"
            )
        run.resume(saved["run"])
        print(f"goes on from step {run.history[-1].step}", flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    try:
        _train(run, checkpoint, recipe)
    except TrainingError as error:
        terminal.say(f"failed: {error}")
        return terminal.FAILED
    digest = save_weights(run.model.backbone, model_config, options.output)
    checkpoint.unlink(missing_ok=True)
    print(f"weights {digest[:16]} in {options.output}")
    return terminal.DONE


def _train(run: Pretraining, checkpoint: Path, recipe: str) -> None:
    """To the end, with a line for each record, and all that the rest depends on saved now and then."""
    saved_at = time.monotonic()
    while not run.finished:
        record = run.advance()
        print(_line(record.step, run.config.steps, record), flush=True)
        due = record.validation_bits_per_base is not None or time.monotonic() - saved_at >= SAVE_EVERY_S
        if due and not run.finished:
            partial = checkpoint.with_suffix(".tmp")
            torch.save({"recipe": recipe, "run": run.state()}, partial)
            partial.replace(checkpoint)
            saved_at = time.monotonic()


def _size(options: argparse.Namespace) -> HyenaConfig:
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(HyenaConfig)}
    given = {name: value for name, value in values.items() if value is not None}
    shape = [name for name in given if name not in BESIDE_THE_SHAPE]
    if (options.model is None) == (not shape):
        raise InputError(f"give either --model (one of {', '.join(PUBLISHED)}) or --d-model, --n-layer and --l-max")
    if options.model is not None:
        return dataclasses.replace(published(options.model), **given)
    if any(name not in given for name in SHAPE):
        raise InputError("a shape takes all three: --d-model, --n-layer and --l-max")
    return HyenaConfig(**given)


def _line(step: int, steps: int, record: Any) -> str:
    text = f"step {step}/{steps}  train {record.train_bits_per_base:.4f} bits/base"
    if record.validation_bits_per_base is not None:
        text += f"  validation {record.validation_bits_per_base:.4f}"
    return f"{text}  {record.tokens / record.seconds:,.0f} tokens/s"


if __name__ == "__main__":
    sys.exit(main())
