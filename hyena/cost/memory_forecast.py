"""A forecast of a training run's peak memory from its shape, for use where nothing has been measured.

Parameters, 16 bytes each (weight, gradient, AdamW's two moments), and position features are exact. The rest is a sum of
`features` times `Coefficients`: activations by token and layer, activations outside the layers, filters, workspace. The
coefficients are fitted to measured peaks by `benchmarks/memory_model.py`, which also measures the error on shapes that
were not used in the fit. **They hold for the CPU in float32.** On a GPU, chunks are larger and the allocator keeps more
memory, and bfloat16 halves part of the activations: there they are a guess until the script has been run. A sweep
measures each kind of run on its own GPU (`sweep/gpu_probe.py`) and relies only on that.
"""

from __future__ import annotations

from typing import NamedTuple

from hyena.model.config import HyenaConfig
from hyena.model.hyenadna import without_memory

PARAMETER_BYTES = 4 * 4


class Coefficients(NamedTuple):
    """Bytes for each unit that `features` counts."""

    layer_channels: float
    layer_inner: float
    channels: float
    filters: float
    space: float


#: `python benchmarks/memory_model.py`: CPU, float32, torch 2.13.0. One seed and a stack run different code.
ALONE = Coefficients(33.42, 8.367, 12.75, 21.72, 3.097e6)
STACKED = Coefficients(36.58, 8.833, 16.29, 17.20, 2.063e6)


def features(config: HyenaConfig, length: int, batch: int, seeds: int = 1) -> Coefficients:
    """The factor of each coefficient: the numbers of channels of all tokens, of filter values, and 1."""
    tokens, positions = seeds * batch * length, seeds * length
    return Coefficients(
        tokens * config.n_layer * config.d_model,
        tokens * config.n_layer * config.d_inner,
        tokens * config.d_model,
        positions * config.n_layer * (config.d_model + config.filter_order),
        1,
    )


def fixed_bytes(config: HyenaConfig, num_classes: int, seeds: int = 1) -> int:
    """Bytes independent of the input: parameters, gradients and moments of all seeds, and the position features."""
    model = without_memory(config, num_classes)
    values = sum(parameter.numel() for parameter in model.parameters())
    return seeds * values * PARAMETER_BYTES + sum(buffer.numel() for buffer in model.buffers()) * 4


def peak_forecast(
    config: HyenaConfig,
    length: int,
    batch: int,
    num_classes: int = 2,
    seeds: int = 1,
    coefficients: Coefficients | None = None,
) -> float:
    """Peak bytes of a training step in float32 in which all parameters are trained."""
    coefficients = coefficients or (ALONE if seeds == 1 else STACKED)
    counts = features(config, length, batch, seeds)
    return fixed_bytes(config, num_classes, seeds) + sum(c * n for c, n in zip(coefficients, counts, strict=True))
