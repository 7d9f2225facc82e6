"""How much memory and time do a forward and a backward pass take by input length, with and without checkpointing?

One batch of one sequence through the language model of a published size, each measurement in a process of its own.
Memory is the peak above what the process held before: resident pages on a CPU, allocated bytes on a GPU. Prints JSON;
`bytes_per_position` is the same for all lengths where memory grows linearly.

    python benchmarks/long_inputs.py --model hyenadna-small-32k-seqlen --lengths 4096 8192 16384 32768
    python benchmarks/long_inputs.py --model hyenadna-large-1m-seqlen --lengths 1000000 --checkpointed on
"""

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import add_output, finish, header
from hyena.model.config import PUBLISHED, published
from hyena.model.hyenadna import LanguageModel, initialise
from hyena.training.optimisation import mixed_precision
from hyena.training.recipe import Precision

#: glibc keeps freed blocks below a threshold that it raises to 32 MiB by itself; fixed, freed memory goes back at once,
#: so that the peak is what was in use and not what was kept.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(2**18)}
LENGTHS = (4_096, 8_192, 16_384, 32_768)


def peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One forward and backward pass, after a short one that does all one-time loading."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = dataclasses.replace(published(options.model), checkpoint_activations=options.checkpointed == "on")
    model = LanguageModel(config)
    initialise(model, 0)
    model.to(device)

    def there_and_back(length: int) -> float:
        tokens = torch.randint(7, 11, (1, length + 1), generator=torch.Generator().manual_seed(0)).to(device)
        started = time.perf_counter()
        with mixed_precision(device, options.precision):
            logits = model(tokens[:, :-1])
        torch.nn.functional.cross_entropy(logits[0].float(), tokens[0, 1:]).backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    there_and_back(64)
    before = peak_bytes(device)
    seconds = there_and_back(options.lengths[0])
    held = peak_bytes(device) - before
    return {"length": options.lengths[0], "checkpointed": options.checkpointed == "on", "seconds": round(seconds, 2),
            "peak_bytes": held, "bytes_per_position": round(held / options.lengths[0])}  # fmt: skip


def in_a_process(model: str, length: int, checkpointed: bool, precision: Precision) -> dict[str, Any]:
    """One measurement in a separate process; if it fails, the reason."""
    words = ["--one", "--model", model, "--lengths", str(length), "--checkpointed", "on" if checkpointed else "off"]
    command = [sys.executable, __file__, *words, "--precision", precision]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | ALLOCATOR)
    if done.returncode == 0:
        found: dict[str, Any] = json.loads(done.stdout)
        return found
    fault = (done.stderr.strip().splitlines() or [f"ended by signal {-done.returncode}"])[-1]
    return {"length": length, "checkpointed": checkpointed, "failed": fault}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=PUBLISHED, default="hyenadna-small-32k-seqlen")
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS))
    parser.add_argument("--checkpointed", choices=("on", "off", "both"), default="both")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--one", action="store_true", help="measure here, once")
    add_output(parser)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options)))
        return
    rows = []
    for checkpointed in ("off", "on") if options.checkpointed == "both" else (options.checkpointed,):
        for length in options.lengths:
            rows.append(in_a_process(options.model, length, checkpointed == "on", options.precision))
            print(rows[-1], file=sys.stderr, flush=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    finish(header(__doc__.splitlines()[0], device, options) | {"rows": rows}, options.output)


if __name__ == "__main__":
    main()
