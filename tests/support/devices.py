"""The devices that tests run on: the CPU everywhere, and a CUDA device if there is one (`pytest -m gpu`).

A test with a parameter from here runs the same code on both, so that CI without a GPU finds errors in the test itself.
"""

import pytest
import torch

#: Marks of a test, or of a parameter, that needs a CUDA device.
GPU = (pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))
DEVICES = ("cpu", pytest.param("cuda", marks=GPU))
#: Where and how training steps run: on a CPU, eagerly on a GPU, and as CUDA graphs.
STEP_MODES = ("cpu", pytest.param("eager", marks=GPU), pytest.param("captured", marks=GPU))


def device_of(mode: str) -> torch.device:
    """The device of one of `STEP_MODES`."""
    return torch.device("cpu" if mode == "cpu" else "cuda")
