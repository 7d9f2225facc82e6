"""The speed of types of GPU by name, for plans: from published peak rates, or from measurements.

**None of these speeds has been measured on a GPU yet.** A step is modelled as its matrix products at `PRODUCT_SHARE` of
the peak rate, plus all other traffic at `TRAFFIC_SHARE` of the memory bandwidth, but at least the time to launch its
kernels one by one. The counts are exact (operations and bytes of the operands of every kernel that PyTorch launches,
from a step on the meta device); the shares and the launch time are what such code usually reaches. Expect the result to
be off by a factor of up to `UNCERTAINTY`. Where `benchmarks/gpu` has measured training steps on a GPU of that name,
the measurements replace the model.

Peak rates: NVIDIA's data sheets and architecture whitepapers (Volta, Turing, Ampere, Ada, Hopper, Blackwell), dense,
with float32 accumulation. float32 is the rate of the plain cores, because PyTorch leaves TF32 off by default. V100 and
T4 have no bfloat16 units, so bfloat16 runs there at the rate of float32.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hyena.cost.flops import BatchWork, flops
from hyena.cost.step_rates import Rates, Sample
from hyena.errors import InputError, nearest
from hyena.model.config import PUBLISHED
from sweep.gpu_probe import slug

#: Parts of the peak rate and of the bandwidth that well-tuned kernels reach.
PRODUCT_SHARE, TRAFFIC_SHARE = 0.7, 0.8
#: Seconds that PyTorch takes to launch a kernel: from Python, and in a captured graph.
LAUNCH_S, CAPTURED_LAUNCH_S = 1e-5, 2e-6
#: Kernels of a step: for each block, and for the rest (embedding, pooling, head, loss, clipping, AdamW).
TRAINING_KERNELS, FORWARD_KERNELS = (122, 36), (41, 5)
#: float32 numbers that they read and write for each position and block: for each channel D, for each channel H.
TRAINING_TRAFFIC, FORWARD_TRAFFIC = (218, 13), (67, 4)
#: The part of that traffic in bfloat16: half the bytes outside the residual, and a fused gate chain.
BFLOAT16_TRAFFIC = 0.4
UNCERTAINTY = 3.0
RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"


@dataclass(frozen=True)
class GPU:
    """One type of GPU.

    Attributes:
        name: what `--gpu` calls it.
        float32, bfloat16: peak rate of matrix products, FLOP/s.
        bytes_per_s: memory bandwidth.
        memory_bytes: memory size.
    """

    name: str
    float32: float
    bfloat16: float
    bytes_per_s: float
    memory_bytes: float

    def seconds(self, work: BatchWork, captured: bool = False) -> float:
        """Seconds of one batch, modelled as the module describes."""
        blocks, wide = work.config.n_layer, work.kind in ("train", "pretrain")
        per_block, once = TRAINING_KERNELS if wide else FORWARD_KERNELS
        per_channel, per_inner = TRAINING_TRAFFIC if wide else FORWARD_TRAFFIC
        values = work.batch * work.length * blocks
        values *= per_channel * work.config.d_model + per_inner * work.config.d_inner
        traffic = 4 * values * (BFLOAT16_TRAFFIC if work.precision == "bfloat16" else 1.0)
        peak = self.bfloat16 if work.precision == "bfloat16" else self.float32
        busy = flops(work, "cuda").products / (PRODUCT_SHARE * peak) + traffic / (TRAFFIC_SHARE * self.bytes_per_s)
        return max(busy, (once + per_block * blocks) * (CAPTURED_LAUNCH_S if captured else LAUNCH_S))


def _gpu(name: str, float32: float, bfloat16: float, gigabytes_per_s: float, gigabytes: float) -> GPU:
    """Rates in TFLOP/s."""
    return GPU(name, float32 * 1e12, bfloat16 * 1e12, gigabytes_per_s * 1e9, gigabytes * 1e9)


GPUS = {
    gpu.name: gpu
    for gpu in (
        _gpu("T4", 8.1, 8.1, 320, 16),
        _gpu("V100", 15.7, 15.7, 900, 16),
        _gpu("V100-32GB", 15.7, 15.7, 900, 32),
        _gpu("A10", 31.2, 125, 600, 24),
        _gpu("A100", 19.5, 312, 1_555, 40),
        _gpu("A100-80GB", 19.5, 312, 2_039, 80),
        _gpu("RTX 3090", 35.6, 71, 936, 24),
        _gpu("RTX A6000", 38.7, 154.8, 768, 48),
        _gpu("L4", 30.3, 121, 300, 24),
        _gpu("L40S", 91.6, 362, 864, 48),
        _gpu("RTX 4090", 82.6, 165.2, 1_008, 24),
        _gpu("H100-PCIe", 51, 756, 2_000, 80),
        _gpu("H100", 67, 989, 3_350, 80),
        _gpu("H200", 67, 989, 4_800, 141),
        _gpu("B200", 75, 2_250, 8_000, 180),
    )
}


def named(name: str) -> GPU:
    """The GPU of that name; case, spaces, hyphens and maker do not matter. Raises InputError with the known names."""
    for gpu in GPUS.values():
        if _letters(gpu.name) == _letters(name):
            return gpu
    near, names = nearest(name, list(GPUS)), ", ".join(GPUS)
    raise InputError(f"--gpu {name}: unknown GPU; {near if names in near else f'{near} (all: {names})'}")


def _letters(name: str) -> str:
    """The part of a GPU's name that is compared: "NVIDIA GeForce RTX 4090" is rtx4090."""
    return re.sub(r"^(nvidia)?(geforce|tesla)?", "", slug(name).replace("-", ""))


def measured(gpu: GPU, folder: Path = RESULTS) -> Rates | None:
    """Rates of training steps that `benchmarks/gpu` measured on such a GPU; None where there are none.

    A results folder matches where its name contains all parts of the GPU's: "a100-80gb" matches
    "nvidia-a100-sxm4-80gb".
    """
    parts = set(slug(gpu.name).split("-"))
    samples = [
        sample
        for place in (sorted(folder.iterdir()) if folder.is_dir() else [])
        if parts <= set(place.name.split("-"))
        for path in sorted(place.glob("speed-step-*.json"))
        for sample in _samples(path)
    ]
    return Rates(samples, "cuda") if samples else None


def _samples(path: Path) -> Iterator[Sample]:
    """Samples of this project's own eager steps in one file of `benchmarks/gpu/speed.py`."""
    record = json.loads(path.read_text("utf-8"))
    if record["status"] != "measured" or record["tiny"]:
        return
    size, _, length = path.stem.removeprefix("speed-step-").rpartition("-")
    for row in record["result"]["rows"]:
        if row["way"] == "ours" and row["step_s"]:
            config = PUBLISHED[f"hyenadna-{size}"]
            work = BatchWork("train", config, row["batch"], int(length), precision=row["precision"])
            yield Sample(work, flops(work, "cuda").total / row["step_s"])
