"""How far do bfloat16 matrix products move hidden states, logits, loss and gradients, by published size?

A classifier initialised as published, one batch of random sequences, forward and backward in float64 (the reference),
in float32 and under bfloat16 autocast (residual, normalisation and long convolution stay in float32, as in training).
Errors are relative: norm of the difference over norm of the reference; `worst_gradient` is that of the worst single
tensor. Means over `--seeds` initialisations. Prints JSON.

    python benchmarks/bfloat16_error.py --length 500 --seeds 3
"""

import argparse
import copy
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import add_output, finish, header
from hyena.model.config import PUBLISHED
from hyena.model.hyenadna import Classifier, initialise
from hyena.training.optimisation import mixed_precision


def relative(found: Tensor, expected: Tensor) -> float:
    return float(torch.linalg.norm(found.double() - expected) / torch.linalg.norm(expected))


def passes(model: Classifier, tokens: Tensor, bfloat16: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Outputs and gradients of one forward and backward pass, on the CPU."""
    with mixed_precision(tokens.device, "bfloat16" if bfloat16 else "float32"):
        hidden = model.backbone(tokens)
        logits = model.head(hidden.mean(dim=1))
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    loss = torch.nn.functional.cross_entropy(logits, torch.arange(len(tokens), device=tokens.device) % 2)
    loss.backward()
    outputs = {"hidden": hidden.detach().cpu(), "logits": logits.detach().cpu(), "loss": loss.detach().cpu()}
    return outputs, {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}


def errors(name: str, seed: int, batch: int, length: int, device: torch.device) -> dict[str, float]:
    model = Classifier(PUBLISHED[name], 2)
    initialise(model, seed)
    tokens = torch.randint(7, 11, (batch, length), generator=torch.Generator().manual_seed(seed)).to(device)
    expected, expected_gradients = passes(copy.deepcopy(model).double().to(device), tokens, False)
    found: dict[str, float] = {}
    for precision in ("float32", "bfloat16"):
        outputs, gradients = passes(copy.deepcopy(model).to(device), tokens, precision == "bfloat16")
        found |= {f"{precision}_{key}": relative(value, expected[key]) for key, value in outputs.items()}
        each = [relative(gradients[key], value) for key, value in expected_gradients.items()]
        flat = [torch.cat([g[key].double().flatten() for key in expected_gradients])
                for g in (gradients, expected_gradients)]  # fmt: skip
        found |= {f"{precision}_gradient": relative(*flat), f"{precision}_worst_gradient": max(each)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=int, default=500)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    add_output(parser)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = []
    for name in PUBLISHED:
        by_seed = [errors(name, seed, options.batch, options.length, device) for seed in range(options.seeds)]
        means = {key: float(f"{sum(row[key] for row in by_seed) / len(by_seed):.2g}") for key in by_seed[0]}
        rows.append({"model": name, **means})
    finish(header(__doc__.splitlines()[0], device, options) | {"rows": rows}, options.output)


if __name__ == "__main__":
    main()
