"""Differences between CPU and GPU that training code must handle: waiting, copying, running out of memory."""

from __future__ import annotations

import torch
from torch import Tensor

#: Messages of CUDA, cuBLAS, Triton and the CPU's allocator, which raise plain RuntimeErrors.
OUT_OF_MEMORY = ("out of memory", "alloc_failed", "can't allocate memory")


def wait_for(device: torch.device) -> None:
    """Return when all work started on `device` is done; on a CPU, at once."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def sent(x: Tensor, device: torch.device) -> Tensor:
    """A copy of a CPU tensor on `device`, without waiting for the work queued there."""
    return (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device, or this process's share of it, ran out of memory."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY)
