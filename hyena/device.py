"""What differs between a CPU and a GPU for whoever trains on it: waiting, copying, and running out of memory."""

from __future__ import annotations

import torch
from torch import Tensor

#: How CUDA, cuBLAS, Triton and the CPU's allocator word it: plain RuntimeErrors.
OUT_OF_MEMORY = ("out of memory", "alloc_failed", "can't allocate memory")


def wait_for(device: torch.device) -> None:
    """Return when everything that was started on `device` is done. On a CPU it is done already."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def sent(x: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on `device`, without waiting for what the device still has to do."""
    return (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device's memory, or this process's share of it, was too small."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY)
