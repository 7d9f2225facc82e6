"""`python -m hyena.pretrain FASTA…`: next-nucleotide pretraining of a size on any genome.

Writes `model.safetensors` and `config.json` (the layout of the published -hf repositories), which a study can use with
`--weights`. After an interruption, the same command resumes from the last checkpoint (saved every few minutes). Next:
`training/pretraining.py`, and `training/pretraining_folder.py` for what it writes and never overwrites.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

if __name__ == "__main__":  # in one line, before the imports below raise
    from hyena.system.extras import exit_without_extra

    exit_without_extra("train")

import torch

from hyena.data.corpus import Corpus, read_corpus
from hyena.device import is_out_of_memory
from hyena.errors import InputError
from hyena.model.config import BESIDE_THE_SHAPE, PUBLISHED, HyenaConfig, published
from hyena.system import terminal
from hyena.training.pretraining import (
    Pretraining,
    PretrainingConfig,
    PretrainingPrecision,
    PretrainingRecord,
    require_length,
)
from hyena.training.pretraining_folder import PretrainingFolder
from hyena.training.seed_state import TrainingError

SAVE_EVERY_S = 300.0
#: Seconds between two attempts to write the finished weights, and until the last attempt.
RETRY_S, PATIENCE_S = 10.0, 3600.0
SHAPE = ("d_model", "n_layer", "l_max")
_MEMORY = "out of memory; use a smaller --batch-size or --length, or --checkpoint-activations"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Exit code 0: the weights are written; 1: the training failed; 2: the request is wrong."""
    return terminal.command(
        lambda: _pretrain(_parser().parse_args(arguments)),
        "interrupted; the same command resumes from the last checkpoint",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hyena.pretrain", description="Pretrain a model on genomes.")
    parser.add_argument("fasta", nargs="+", type=Path, metavar="FASTA", help="genomes, plain or compressed")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the weights")
    parser.add_argument("--model", metavar="NAME", help="a published size; alternatively, give its shape:")
    for field in dataclasses.fields(HyenaConfig):
        _add_option(parser, field, None)
    for field in dataclasses.fields(PretrainingConfig):
        _add_option(parser, field, field.default)
    return parser


def _add_option(parser: argparse.ArgumentParser, field: dataclasses.Field[Any], default: Any) -> None:
    """Add an option for a field of a dataclass; it is required if `default` is dataclasses.MISSING."""
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
    size = _size(options)
    require_length(size, config)
    folder = PretrainingFolder(options.output, size, config, options.model)
    folder.check()  # before the corpus is read, and again with its digest
    corpus = read_corpus(options.fasta)
    folder.corpus = corpus.digest
    folder.check()
    try:
        return _run(folder, corpus)
    except (TrainingError, MemoryError, RuntimeError) as error:
        if not isinstance(error, TrainingError | MemoryError) and not is_out_of_memory(error):
            raise
        terminal.say(f"failed: {error if isinstance(error, TrainingError) else _MEMORY}")
        return terminal.FAILED


def _run(folder: PretrainingFolder, corpus: Corpus) -> int:
    """Train the remaining steps and write the weights."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run = Pretraining(folder.size, corpus, folder.config, device, folder.model or "")
    digest = folder.finished()
    if digest is not None:
        print(f"weights {digest[:16]} in {folder.path} are those of this pretraining, which is finished: nothing to do")
        return terminal.DONE
    print(f"{len(corpus.names)} records, {len(corpus.tokens):,} bases; {run.precision} on {device}", flush=True)
    if folder.resume(run):
        print(f"resuming from step {run.history[-1].step}", flush=True)
    folder.begin()
    _train(run, folder)
    print(f"weights {_finish(run, folder)[:16]} in {folder.path}")
    return terminal.DONE


def _train(run: Pretraining, folder: PretrainingFolder) -> None:
    """Train to the end; print a line for each record, and save a checkpoint every few minutes."""
    saved_at = time.monotonic()
    while not run.finished:
        record = run.advance()
        print(_line(record, run.config.steps), flush=True)
        due = record.validation_bits_per_base is not None or time.monotonic() - saved_at >= SAVE_EVERY_S
        if due and not run.finished:
            try:
                folder.save(run)
            except OSError as error:  # a disk may be full for a while; training is worth more than the checkpoint
                terminal.say(f"no checkpoint at step {record.step} ({terminal.os_fault(error)}); training continues")
            saved_at = time.monotonic()


def _finish(run: Pretraining, folder: PretrainingFolder) -> str:
    """Write the weights. If that fails, as on a full disk, retry for an hour rather than lose hours of training."""
    give_up_at = time.monotonic() + PATIENCE_S
    warned = False
    while True:
        try:
            return folder.finish(run)
        except OSError as error:
            if time.monotonic() >= give_up_at:
                raise
            if not warned:
                fault = terminal.os_fault(error)
                terminal.say(f"the weights cannot be written ({fault}); free some space, retrying for an hour")
            warned = True
        time.sleep(RETRY_S)


def _size(options: argparse.Namespace) -> HyenaConfig:
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(HyenaConfig)}
    given = {name: value for name, value in values.items() if value is not None}
    shape = [name for name in given if name not in BESIDE_THE_SHAPE]
    if (options.model is None) == (not shape):
        raise InputError(f"expected either --model (one of {', '.join(PUBLISHED)}) or --d-model, --n-layer and --l-max")
    if options.model is not None:
        return dataclasses.replace(published(options.model), **given)
    if any(name not in given for name in SHAPE):
        raise InputError("incomplete shape; expected --d-model, --n-layer and --l-max")
    return HyenaConfig(**given)


def _line(record: PretrainingRecord, steps: int) -> str:
    text = f"step {record.step}/{steps}  train {record.train_bits_per_base:.4f} bits/base"
    if record.validation_bits_per_base is not None:
        text += f"  validation {record.validation_bits_per_base:.4f}"
    return f"{text}  {record.tokens / record.seconds:,.0f} tokens/s"


if __name__ == "__main__":
    sys.exit(main())
