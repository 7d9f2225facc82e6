"""A simulated GPU for machines without one: Ray counts it, and its allocator reports fixed numbers.

Training runs on the CPU; shares, probes and retries after a share that is too small are real.
"""

from __future__ import annotations

import torch

from hyena.training.loop import Training
from sweep.resources import Share

NAME, TOTAL_BYTES, CONTEXT_BYTES = "Pretend P1-10GB", 10 * 10**9, 10**8
#: Peak memory that the allocator reports to every probe, and the GPU fraction below which training is out of memory.
PEAK_BYTES, NEEDED_FRACTION = 10**9, 0.2


def install() -> None:
    """Replace torch's and the sweep's functions in a Ray worker, before anything else runs there."""
    fraction = 1.0

    def occupy(share: Share) -> torch.device:
        nonlocal fraction
        fraction = share.gpus
        return torch.device("cpu")

    train = Training.train_and_evaluate

    def train_in_share(training: Training) -> None:
        if fraction < NEEDED_FRACTION:
            raise torch.OutOfMemoryError(f"more than {fraction} of the pretended GPU")
        train(training)

    Share.occupy = occupy  # type: ignore[method-assign, assignment]
    Training.train_and_evaluate = train_in_share  # type: ignore[method-assign, assignment]
    torch.cuda.empty_cache = lambda: None
    torch.cuda.reset_peak_memory_stats = lambda device=None: None
    torch.cuda.max_memory_reserved = lambda device=None: PEAK_BYTES
    torch.cuda.memory_reserved = lambda device=None: PEAK_BYTES
    torch.cuda.mem_get_info = lambda device=None: (TOTAL_BYTES - PEAK_BYTES - CONTEXT_BYTES, TOTAL_BYTES)
    torch.cuda.get_device_name = lambda device=None: NAME
