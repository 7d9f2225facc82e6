"""`python -m hyena.pretrain FASTA…`: next-nucleotide pretraining of a size on any genome.

Writes `model.safetensors` and `config.json` (the layout of the published -hf repositories), which a study takes with
`--weights`. Killed and called again, it goes on from its last validation. Next: `pretraining.py`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch

from hyena.checkpoint import save_weights
from hyena.config import PUBLISHED, HyenaConfig, published
from hyena.errors import InputError
from hyena.pretraining import Pretraining, PretrainingConfig, read_corpus
from hyena.training import Precision, TrainingError

UNFINISHED = "unfinished.pt"
SHAPE = ("d_model", "n_layer", "l_max")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Exit code 0 when the weights are written, 1 when the loss ran away, 2 for a wrong request."""
    options = _parser().parse_args(arguments)
    try:
        return _pretrain(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except TrainingError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from the last validation", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hyena.pretrain", description="Pretrain a size on genomes.")
    parser.add_argument("fasta", nargs="+", type=Path, metavar="FASTA", help="genomes, plain or gzipped")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the weights")
    parser.add_argument("--model", metavar="NAME", help="a published size; or give a shape:")
    for name in SHAPE:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N")
    for field in dataclasses.fields(PretrainingConfig):
        required = field.default is dataclasses.MISSING
        kind: Any = int if required else type(field.default)
        shown = "required" if required else f"default {field.default}"
        choices = get_args(Precision) if field.name == "precision" else None
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=kind,
            required=required,
            choices=choices,
            default=None if required else field.default,
            help=shown,
        )
    return parser  # fmt: skip


def _pretrain(options: argparse.Namespace) -> int:
    config = PretrainingConfig(**{f.name: getattr(options, f.name) for f in dataclasses.fields(PretrainingConfig)})
    model_config = _size(options)
    corpus = read_corpus(options.fasta)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run = Pretraining(model_config, corpus, config, device)
    print(f"{len(corpus.offsets) - 1} records, {len(corpus.tokens):,} bases; device {device}", flush=True)
    recipe = json.dumps([dataclasses.asdict(model_config), dataclasses.asdict(config), corpus.digest])
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
    while not run.finished:
        record = run.advance()
        print(_line(record.step, config.steps, record), flush=True)
        if record.validation_bits_per_base is not None and not run.finished:
            partial = checkpoint.with_suffix(".tmp")
            torch.save({"recipe": recipe, "run": run.state()}, partial)
            partial.replace(checkpoint)
    digest = save_weights(run.model.backbone, model_config, options.output)
    checkpoint.unlink(missing_ok=True)
    print(f"weights {digest[:16]} in {options.output}")
    return 0


def _size(options: argparse.Namespace) -> HyenaConfig:
    shape = {name: getattr(options, name) for name in SHAPE}
    given = [name for name, value in shape.items() if value is not None]
    if (options.model is None) == (not given):
        raise InputError(f"give either --model (one of {', '.join(PUBLISHED)}) or --d-model, --n-layer and --l-max")
    if options.model is not None:
        return published(options.model)
    if len(given) < len(SHAPE):
        raise InputError("a shape takes all three: --d-model, --n-layer and --l-max")
    return HyenaConfig(**shape)


def _line(step: int, steps: int, record: Any) -> str:
    text = f"step {step}/{steps}  train {record.train_bits_per_base:.4f} bits/base"
    if record.validation_bits_per_base is not None:
        text += f"  validation {record.validation_bits_per_base:.4f}"
    return f"{text}  {record.tokens / record.seconds:,.0f} tokens/s"


if __name__ == "__main__":
    sys.exit(main())
