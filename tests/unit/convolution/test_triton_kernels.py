"""The Triton kernels: their logic by Triton's interpreter without a GPU, their numbers on one, and that they compile.

Skipped where Triton is not installed (PyTorch's CPU builds do not bring it).
"""

import os
import subprocess
import sys

import pytest
import torch

from tests.support.places import ROOT

triton = pytest.importorskip("triton")

from hyena.convolution.gated import _GatedConvolution, kernels_work, on_matrix_units  # noqa: E402
from hyena.convolution.triton_kernels import SMALL_BATCH, TILING, TRIED, GatedConvolution, Tiling, tiling_for  # noqa: E402
from tests.support.rounded_kernels import RoundedGatedConvolution  # noqa: E402

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() and triton.__version__.startswith("3.6."),
    reason="the interpreter of Triton 3.6 fails with NumPy 2.4 (it makes numbers of arrays with one element)",
)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
#: The interpreter multiplies the bits of bfloat16 as if they were integers (Triton 3.9); float16 takes the same path.
HALF = torch.bfloat16 if torch.cuda.is_available() else torch.float16


def differences(
    channels: int,
    batch: int,
    length: int,
    dtype: torch.dtype,
    reference: type[torch.autograd.Function] = _GatedConvolution,
    tiling: Tiling | None = None,
) -> list[float]:
    """From `reference`, relative: of the result and of the gradients of projections, taps, offset, filter and skip."""
    generator = torch.Generator().manual_seed(length)
    shapes = ((3 * channels, batch, length), (3 * channels, 3), (3 * channels,), (channels, length), (channels,))
    values = [torch.randn(shape, generator=generator) for shape in shapes]
    found: list[torch.Tensor] = []
    expected: list[torch.Tensor] = []
    for way, results in ((GatedConvolution, found), (reference, expected)):
        arguments = [value.to(DEVICE) for value in values]
        arguments[0] = arguments[0].to(dtype)
        arguments = [argument.requires_grad_() for argument in arguments]
        result = way.apply(*arguments, *([tiling] if tiling and way is GatedConvolution else []))
        weights = torch.sin(torch.arange(result.numel(), device=DEVICE, dtype=torch.float32)).view_as(result)
        result.backward(weights.to(dtype))
        results += [result.detach(), *(a.grad for a in arguments if a.grad is not None)]
    assert len(found) == 6
    pairs = zip(found, expected, strict=True)
    return [float((a.float() - b.float()).norm() / b.float().norm()) for a, b in pairs]


@pytest.mark.parametrize(
    ("batch", "length"), [(3, 2 * TILING.tile + 22), (TILING.rows + 6, TILING.tile), (17, 1), (1, TILING.tile + 1)]
)
def test_kernels_do_what_the_plain_way_does(batch: int, length: int) -> None:
    assert max(differences(2, batch, length, torch.float32, _GatedConvolution)) < 1e-5


@pytest.mark.parametrize("tiling", TRIED)
@pytest.mark.parametrize("length", [52, 80])  # rows that begin at multiples of 4, and of 16
def test_no_tiling_changes_what_is_computed(tiling: Tiling, length: int) -> None:
    assert max(differences(1, 2, length, torch.float32, tiling=tiling)) < 1e-5


def test_a_small_batch_gets_smaller_pieces() -> None:
    assert tiling_for(SMALL_BATCH.rows) == SMALL_BATCH
    assert tiling_for(SMALL_BATCH.rows + 1) == TILING


def test_half_precision_rounds_operands_only() -> None:
    """From the plain way by what rounding costs, and from the plain way with that rounding by next to nothing."""
    unit = torch.finfo(HALF).eps  # 2^-7 of bfloat16, 2^-10 of float16
    assert max(differences(2, 3, 150, HALF, _GatedConvolution)) < 2.5 * unit
    assert max(differences(2, 3, 150, HALF, RoundedGatedConvolution)) < unit / 8


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("batch", "length"), [(256, 500), (64, 1024), (33, 2048), (8, 200)])
def test_training_shapes_on_a_gpu(batch: int, length: int) -> None:
    """Rounding costs 4e-3 at these shapes; where the reference rounds alike, values halfway between two are left."""
    assert kernels_work(DEVICE)
    assert on_matrix_units(torch.empty(6, batch, length, dtype=torch.bfloat16, device=DEVICE))
    assert max(differences(128, batch, length, torch.bfloat16, _GatedConvolution)) < 1e-2
    assert max(differences(128, batch, length, torch.bfloat16, RoundedGatedConvolution)) < 1e-3


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
