"""The Triton kernels: their logic by Triton's interpreter without a GPU, their numbers on one, and that they compile.

Skipped where Triton is not installed (PyTorch's CPU builds do not bring it).
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported, which nothing else does before tests run
triton = pytest.importorskip("triton")

from hyena.gated_convolution import _GatedConvolution, kernels_work, on_matrix_units  # noqa: E402
from hyena.toeplitz_triton import ROWS, TILE, GatedConvolution  # noqa: E402

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() and triton.__version__.startswith("3.6."),
    reason="the interpreter of Triton 3.6 fails with NumPy 2.4 (it makes numbers of arrays with one element)",
)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
#: The interpreter multiplies the bits of bfloat16 as if they were integers (Triton 3.9); float16 takes the same path.
HALF = torch.bfloat16 if torch.cuda.is_available() else torch.float16
ROOT = Path(__file__).resolve().parents[2]


def differences(channels: int, batch: int, length: int, dtype: torch.dtype) -> list[float]:
    """Relative, of the result and of the gradients of projections, taps, offset, filter and skip."""
    generator = torch.Generator().manual_seed(length)
    shapes = ((3 * channels, batch, length), (3 * channels, 3), (3 * channels,), (channels, length), (channels,))
    values = [torch.randn(shape, generator=generator) for shape in shapes]
    found, expected = [], []
    for way, results in ((GatedConvolution, found), (_GatedConvolution, expected)):
        arguments = [value.to(DEVICE) for value in values]
        arguments[0] = arguments[0].to(dtype)
        arguments = [argument.requires_grad_() for argument in arguments]
        result = way.apply(*arguments)
        weights = torch.sin(torch.arange(result.numel(), device=DEVICE, dtype=torch.float32)).view_as(result)
        result.backward(weights.to(dtype))
        results += [result.detach(), *(argument.grad for argument in arguments)]
    pairs = zip(found, expected, strict=True)
    return [float((a.float() - b.float()).norm() / b.float().norm()) for a, b in pairs]


@pytest.mark.parametrize(("batch", "length"), [(3, 2 * TILE + 22), (ROWS + 6, TILE), (17, 1), (1, TILE + 1)])
def test_kernels_do_what_the_plain_way_does(batch: int, length: int) -> None:
    assert max(differences(2, batch, length, torch.float32)) < 1e-5


def test_half_precision_rounds_operands_only() -> None:
    assert max(differences(2, 3, 150, HALF)) < (2e-2 if torch.bfloat16 == HALF else 2e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("batch", "length"), [(256, 500), (64, 1024), (33, 2048), (8, 200)])
def test_training_shapes_on_a_gpu(batch: int, length: int) -> None:
    assert kernels_work(DEVICE)
    assert on_matrix_units(torch.empty(6, batch, length, dtype=torch.bfloat16, device=DEVICE))
    assert max(differences(128, batch, length, torch.bfloat16)) < 2e-2


COMPILE = """
import re
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from hyena import toeplitz_triton as module

POINTERS = dict.fromkeys(("p", "to_z", "result", "signal", "convolved", "c", "gradient", "u", "to_u", "to_p"), "*bf16")
POINTERS |= dict.fromkeys(("taps", "offset", "k", "skip", "sums"), "*fp32")
SIZES = dict.fromkeys(("channels", "batch", "length", "tiles"), "i32")
STRIPS = {"SEQUENCES": module.SEQUENCES, "STRIP": module.STRIP}
TILES = {"ROWS": module.ROWS, "TILE": module.TILE}
VARIANTS = [(module._gate, {"BACKWARD": way} | STRIPS) for way in (False, True)]
VARIANTS += [(module._multiply, {"BACKWARD": way} | TILES) for way in (False, True)]
VARIANTS += [(module._ungate, {"PART": part} | STRIPS) for part in range(3)] + [(module._outer, TILES)]
for kernel, constants in VARIANTS:
    types = POINTERS | SIZES | ({"result": "*fp32"} if kernel is module._outer else {})
    signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    for architecture in (80, 90):
        source = ASTSource(fn=kernel, signature=signature, constexprs=places)
        made = compile(source, target=GPUTarget("cuda", architecture, 32))
        on_matrix_units = bool(re.search("wgmma.mma_async|mma.sync", made.asm["ptx"]))
        assert on_matrix_units == ("TILE" in constants), kernel
        assert made.metadata.shared <= 99 * 1024, kernel
"""


@pytest.mark.slow
def test_kernels_compile_for_the_a100_and_the_h100() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", COMPILE], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
