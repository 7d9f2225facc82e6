"""What tests run on: the CPU everywhere, and a CUDA device where there is one (`pytest -m gpu`).

A test with a parameter from here takes the same path through its own code on both, so that plain CI finds a fault in
the test itself; the GPU then adds its numbers.
"""

import pytest
import torch

#: Of a test, or a parameter of one, that needs a CUDA device.
GPU = (pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))
DEVICES = ("cpu", pytest.param("cuda", marks=GPU))
#: How steps are taken: on a CPU, on a GPU one operation after the other, and there as CUDA graphs.
WAYS = ("cpu", pytest.param("eager", marks=GPU), pytest.param("captured", marks=GPU))


def device_of(way: str) -> torch.device:
    """Where the steps of one of `WAYS` are taken."""
    return torch.device("cpu" if way == "cpu" else "cuda")
