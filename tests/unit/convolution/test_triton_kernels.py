"""The Triton kernels: their logic in Triton's interpreter without a GPU, their numbers on one, and that they compile.

Skipped where Triton is not installed (PyTorch's CPU builds do not bring it).
"""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch

from tests.support.places import ROOT

triton = pytest.importorskip("triton")

from hyena.convolution.chunked import ChunkedGatedConvolution  # noqa: E402
from hyena.convolution.fft import FFT  # noqa: E402
from hyena.convolution.gated import TRITON, kernels_work, method_for  # noqa: E402
from hyena.convolution.triton_kernels import (  # noqa: E402
    SMALL_BATCH,
    TILING,
    TRIED,
    Tiling,
    TritonGatedConvolution,
    tiling_for,
)
from tests.support.rounded_kernels import rounded_gated_convolution  # noqa: E402

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() and triton.__version__.startswith("3.6."),
    reason="the interpreter of Triton 3.6 fails with NumPy 2.4 (it converts arrays of one element to scalars)",
)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
#: The interpreter multiplies the bits of bfloat16 as if they were integers (Triton 3.9); float16 takes the same path.
HALF = torch.bfloat16 if torch.cuda.is_available() else torch.float16


def by_kernels(*values: torch.Tensor, tiling: Tiling | None = None) -> torch.Tensor:
    return TritonGatedConvolution.apply(*values, tiling)


def by_fft(*values: torch.Tensor) -> torch.Tensor:
    return ChunkedGatedConvolution.apply(*values, FFT)


def differences(
    channels: int,
    batch: int,
    length: int,
    dtype: torch.dtype,
    reference: Callable[..., torch.Tensor] = by_fft,
    tiling: Tiling | None = None,
) -> list[float]:
    """Relative to `reference`: of the result and of the gradients of projections, taps, offset, filter and skip."""
    generator = torch.Generator().manual_seed(length)
    shapes = ((3 * channels, batch, length), (3 * channels, 3), (3 * channels,), (channels, length), (channels,))
    values = [torch.randn(shape, generator=generator) for shape in shapes]
    found: list[torch.Tensor] = []
    expected: list[torch.Tensor] = []
    for function, results in ((partial(by_kernels, tiling=tiling), found), (reference, expected)):
        arguments = [value.to(DEVICE) for value in values]
        arguments[0] = arguments[0].to(dtype)
        arguments = [argument.requires_grad_() for argument in arguments]
        result = function(*arguments)
        weights = torch.sin(torch.arange(result.numel(), device=DEVICE, dtype=torch.float32)).view_as(result)
        result.backward(weights.to(dtype))
        results += [result.detach(), *(a.grad for a in arguments if a.grad is not None)]
    assert len(found) == 6
    pairs = zip(found, expected, strict=True)
    return [float((a.float() - b.float()).norm() / b.float().norm()) for a, b in pairs]


@pytest.mark.parametrize(
    ("batch", "length"), [(3, 2 * TILING.tile + 22), (TILING.rows + 6, TILING.tile), (17, 1), (1, TILING.tile + 1)]
)
def test_kernels_agree_with_ffts(batch: int, length: int) -> None:
    assert max(differences(2, batch, length, torch.float32)) < 1e-5


@pytest.mark.parametrize("tiling", TRIED)
@pytest.mark.parametrize("length", [52, 80])  # rows that begin at multiples of 4, and of 16
def test_no_tiling_changes_what_is_computed(tiling: Tiling, length: int) -> None:
    assert max(differences(1, 2, length, torch.float32, tiling=tiling)) < 1e-5


def test_a_small_batch_gets_smaller_blocks() -> None:
    assert tiling_for(SMALL_BATCH.rows) == SMALL_BATCH
    assert tiling_for(SMALL_BATCH.rows + 1) == TILING


def test_half_precision_rounds_operands_only() -> None:
    """They differ from FFTs by the rounding of the operands, and from FFTs of rounded operands by next to nothing."""
    unit = torch.finfo(HALF).eps  # 2^-7 of bfloat16, 2^-10 of float16
    assert max(differences(2, 3, 150, HALF, by_fft)) < 2.5 * unit
    assert max(differences(2, 3, 150, HALF, rounded_gated_convolution)) < unit / 8


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("batch", "length"), [(256, 500), (64, 1024), (33, 2048), (8, 200)])
def test_training_shapes_on_a_gpu(batch: int, length: int) -> None:
    """Rounding costs 4e-3 at these shapes; a reference that rounds alike differs only at ties."""
    assert kernels_work(DEVICE)
    assert method_for(DEVICE, torch.bfloat16, batch, length) == TRITON
    assert max(differences(128, batch, length, torch.bfloat16, by_fft)) < 1e-2
    assert max(differences(128, batch, length, torch.bfloat16, rounded_gated_convolution)) < 1e-3


COMPILE = """
import re
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from hyena.convolution import triton_kernels as module

POINTERS = dict.fromkeys(("p", "to_z", "result", "signal", "convolved", "c", "gradient", "u", "to_u", "to_p"), "*bf16")
POINTERS |= dict.fromkeys(("taps", "offset", "k", "skip", "sums"), "*fp32")
SIZES = dict.fromkeys(("channels", "batch", "units", "tiles"), "i32")
variants = {}  # those of several tilings are the same
for tiling in module.TRIED:
    found = [(module._gate, {"BACKWARD": way} | tiling.elementwise) for way in (False, True)]
    found += [(module._multiply, {"BACKWARD": way} | tiling.multiply) for way in (False, True)]
    found += [(module._ungate, {"PART": part} | tiling.elementwise) for part in range(3)]
    found += [(module._outer, tiling.outer)]
    variants |= {(kernel.__name__, *sorted(values.items())): (kernel, values) for kernel, values in found}
for kernel, values in variants.values():
    options = {name: value for name, value in values.items() if name.startswith("num_")}
    types = POINTERS | SIZES | ({"result": "*fp32"} if kernel is module._outer else {})
    signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
    for architecture, unit in ((80, 4), (90, 4), (90, 16)):
        constants = {name: value for name, value in values.items() if name not in options} | {"UNIT": unit}
        places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
        source = ASTSource(fn=kernel, signature=signature, constexprs=places)
        made = compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
        on_matrix_units = bool(re.search("wgmma.mma_async|mma.sync", made.asm["ptx"]))
        assert on_matrix_units == ("TILE" in constants), kernel
        assert made.metadata.shared <= (163 if architecture == 80 else 227) * 1024, (kernel, values)
"""


@pytest.mark.slow
def test_all_tilings_compile_for_the_a100_and_the_h100() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", COMPILE], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
