"""Part B: how fast are the long convolution and a training step, what bounds them, and which tiles are best?

Seconds are medians, measured by `queued_s` and `replayed_s` of `machine.py`. Convolutions are forward and backward of
the gated convolution between the two projections of a block: short filter, gates, long convolution and skip.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.session import Measurement, NotHereError, Setting
from benchmarks.long_convolution import convolution as convolution_by
from benchmarks.long_convolution import there_and_back
from benchmarks.machine import bandwidth, if_it_fits, matrix_rate, peak_bytes, queued_s, replayed_s
from benchmarks.published_way import fft_convolution
from benchmarks.training_step import model_flop, steps
from hyena.convolution.chunked import ChunkedGatedConvolution
from hyena.convolution.fft import FFT
from hyena.convolution.gated import kernels_work
from hyena.model.config import PUBLISHED, HyenaConfig
from hyena.training.recipe import Precision

#: The sizes that the original study compared, and the lengths and the batch that most of GenomicBenchmarks has.
STUDIED = ("tiny-1k-seqlen", "large-1m-seqlen")
LENGTHS, BATCH = (500, 200, 1024), 256
CONVOLUTIONS = (500, 200, 1024, 128, 256, 512, 2048, 4096, 8192, 16384, 32768)
#: Tokens of a convolution that is measured, at most: a longer input comes in a smaller batch.
TOKENS = 2**18
#: The longest input for the kernels, whose work grows with its square.
LONGEST_TRIED = 8192
#: FlashFFTConv's gated convolution, forward, on an H100-SXM: milliseconds at batch 64 and 768 channels, PyTorch's FFT
#: and theirs. Source: README of HazyResearch/flash-fft-conv; arXiv:2311.05908.
FLASH_FFT_CONV_MS = {
    256: (0.62, 0.11),
    1024: (2.30, 0.29),
    4096: (9.49, 1.43),
    8192: (19.4, 3.58),
    16384: (29.9, 12.2),
    32768: (84.8, 26.3),
}


def measurements(setting: Setting) -> list[Measurement]:
    """The most important first: the studied sizes, then the rest, and last what must be compiled."""
    sizes = setting.choose([name.removeprefix("hyenadna-") for name in PUBLISHED], ["tiny-1k-seqlen"])
    others = [size for size in sizes if size not in STUDIED]
    studied = [size for size in STUDIED if size in sizes]
    lengths = setting.choose(LENGTHS, (48,))

    def by_size(name: str, box_s: float, work: Callable[..., Any], sizes: Sequence[str]) -> list[Measurement]:
        return [
            Measurement(f"{name}-{size}-{length}", box_s, functools.partial(work, size, length))
            for length in lengths
            for size in sizes
        ]

    found = [Measurement("rates", 60, rates), *by_size("step", 60, step, studied)]
    found += [
        Measurement(f"convolution-{length}", 40, functools.partial(convolution, length))
        for length in setting.choose(CONVOLUTIONS, (48, 70))
    ]
    found += [Measurement(f"kernels-{size}", 40, functools.partial(kernels, size)) for size in studied]
    found += [
        Measurement(f"tiles-{length}", 90, functools.partial(tiles, length))
        for length in setting.choose(LENGTHS, (70,))
    ]
    found += [Measurement("flash-fft-conv", 60, beside_flash_fft_conv)]
    return [*found, *by_size("step", 60, step, others), *by_size("compiled", 120, compiled, studied)]


@functools.cache
def ceilings(device: torch.device) -> dict[str, float]:
    """Matrix rates in FLOP/s, as PyTorch comes (no TF32) and with bfloat16, and the bandwidth in bytes a second."""
    return {
        "bfloat16_flop_per_s": float(f"{matrix_rate(device, torch.bfloat16):.4g}"),
        "float32_flop_per_s": float(f"{matrix_rate(device, torch.float32):.4g}"),
        "bytes_per_s": float(f"{bandwidth(device):.4g}"),
    }


def rates(setting: Setting) -> dict[str, Any]:
    """The highest rates of the machine."""
    found = ceilings(setting.where)
    line = (
        f"{found['bfloat16_flop_per_s'] / 1e12:.0f} TFLOP/s in bfloat16, {found['float32_flop_per_s'] / 1e12:.0f} in "
        f"float32, {found['bytes_per_s'] / 1e12:.2f} TB/s"
    )
    return {"line": line, **found}


def step(size: str, length: int, setting: Setting) -> dict[str, Any]:
    """A training step of one size: the published way in float32 and under autocast, ours eager and captured."""
    config = PUBLISHED[f"hyenadna-{size}"]
    rows = [_step(config, way, length, "bfloat16", setting) for way in ("published", "published_autocast", "ours")]
    if setting.device == "cuda" and rows[-1]["step_s"]:
        # Only what fitted before: a capture that runs out of memory leaves the device unusable.
        rows.append(_step(config, "captured", length, "bfloat16", setting, rows[-1]["batch"]))
    if size in STUDIED:
        rows.append(_step(config, "ours", length, "float32", setting))
    return _compared(rows)


def compiled(size: str, length: int, setting: Setting) -> dict[str, Any]:
    """The same with the model by `torch.compile`, beside ours eager."""
    config = PUBLISHED[f"hyenadna-{size}"]
    return _compared([_step(config, way, length, "bfloat16", setting) for way in ("ours", "compiled")])


def _step(
    config: HyenaConfig, way: str, length: int, precision: Precision, setting: Setting, largest: int = BATCH
) -> dict[str, Any]:
    """One way at the largest batch that fits into the memory."""
    device = setting.where

    def attempt(batch: int) -> tuple[float, int | None]:
        work = steps(config, batch, length, device, [way], precision)[way]
        step_s = queued_s(work, device, setting.choose(7, 1), calls=setting.choose(5, 1))
        return step_s, None if way == "captured" else peak_bytes(work, device)  # a graph's memory is taken for good

    rounded = way != "published" and precision == "bfloat16"
    rate = ceilings(device)["bfloat16_flop_per_s" if rounded else "float32_flop_per_s"]
    row: dict[str, Any] = {"way": way, "precision": "bfloat16" if rounded else "float32", "length": length}
    for batch in setting.choose([largest >> halved for halved in range(4)], (4,)):
        found = if_it_fits(functools.partial(attempt, batch))
        if found is not None:
            step_s, peak = found
            flop_per_s = model_flop(config, batch * length) / step_s
            return row | {
                "batch": batch,
                "step_s": round(step_s, 7),
                "tokens_per_s": round(batch * length / step_s),
                "flop_per_s": float(f"{flop_per_s:.4g}"),
                "share_of_matrix_rate": round(flop_per_s / rate, 4),
                "peak_bytes": peak,
            }
    return row | {"step_s": None}


def _compared(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """With how many times the first way's tokens a second each does."""
    first = rows[0].get("tokens_per_s")
    for row in rows:
        row["speed_up"] = round(row["tokens_per_s"] / first, 2) if first and row["step_s"] else None
    said = [
        f"{row['way']}{' float32' if row['way'] == 'ours' and row['precision'] == 'float32' else ''} "
        + (f"{1e3 * row['step_s']:.2f} ms ({row['speed_up']}×)" if row["step_s"] else "does not fit")
        for row in rows
    ]
    return {"line": ", ".join(said), "rows": rows}


def published_chain(p: Tensor, taps: Tensor, offset: Tensor, k: Tensor, skip: Tensor) -> Tensor:
    """The operator of `published_way.py` without its projections: p [B, 3D, L] to [B, D, L]."""
    channels = p.shape[1]
    p = F.conv1d(p, taps[:, None], offset, padding=taps.shape[1] - 1, groups=channels)[..., : p.shape[-1]]
    x0, x1, v = p.split(channels // 3, dim=1)
    return fft_convolution(v * x1, k, skip) * x0


def chain_inputs(channels: int, batch: int, length: int, device: torch.device) -> list[Tensor]:
    """Random arguments of the gated convolution, channel-major, in float32."""
    shapes = ((3 * channels, batch, length), (3 * channels, 3), (3 * channels,), (channels, length), (channels,))
    generator = torch.Generator(device).manual_seed(length)
    return [torch.randn(shape, generator=generator, device=device) for shape in shapes]


def _learnt(inputs: list[Tensor], rounded: bool = False) -> list[Tensor]:
    """The same, differentiable; `rounded`: the projections as under autocast.

    Triton's interpreter, which stands in for a GPU, does not know bfloat16 products.
    """
    dtype = torch.bfloat16 if rounded and inputs[0].is_cuda else torch.float32
    return [x.to(dtype if place == 0 else x.dtype).detach().requires_grad_() for place, x in enumerate(inputs)]


def chains(channels: int, batch: int, length: int, device: torch.device) -> dict[str, Callable[[], Any]]:
    """The gated convolution by the published way and by ours, and the convolution alone by FFTs in float32."""
    inputs = chain_inputs(channels, batch, length, device)
    signal = inputs[0][:channels]
    batch_major, k = signal.transpose(0, 1).contiguous().requires_grad_(), inputs[3].clone().requires_grad_()
    channel_last = [inputs[0].transpose(0, 1).contiguous(), *inputs[1:]]
    rounded = _learnt(inputs, rounded=True)
    return {
        **{way: there_and_back(function, *rounded) for way, function in our_chains(length, device).items()},
        "published": there_and_back(published_chain, *_learnt(channel_last)),
        "published_alone": there_and_back(lambda u, k: fft_convolution(u, k, inputs[4]), batch_major, k),
        "fft_alone": convolution_by(FFT, signal, inputs[3]),
    }


def our_chains(length: int, device: torch.device) -> dict[str, Callable[..., Tensor]]:
    """The gated convolution by each of our methods that can be tried with inputs of that length."""
    methods: dict[str, Callable[..., Tensor]] = {"fft": by_fft}
    if length <= LONGEST_TRIED and kernels_are_here(device):
        from hyena.convolution.triton_kernels import TritonGatedConvolution

        methods["triton"] = TritonGatedConvolution.apply
    return methods


def by_fft(*inputs: Tensor) -> Tensor:
    return ChunkedGatedConvolution.apply(*inputs, FFT)


@functools.cache
def kernels_are_here(device: torch.device) -> bool:
    """Whether the Triton kernels can be tried: on a GPU where they work; elsewhere where Triton's interpreter does."""
    if device.type == "cuda":
        return kernels_work(device)
    try:
        from hyena.convolution.triton_kernels import TritonGatedConvolution

        TritonGatedConvolution.apply(*chain_inputs(1, 1, 3, device))
    except Exception:  # no Triton, no interpreter, or an interpreter that fails with this NumPy
        return False
    return True


def require_kernels(device: torch.device) -> None:
    """On a GPU they must work; where there is no Triton, there is nothing to measure."""
    if not kernels_are_here(device):
        if device.type == "cuda":
            raise RuntimeError("the Triton kernels do not work on this GPU; the warnings say why")
        raise NotHereError("no Triton that runs here")


def convolution(length: int, setting: Setting) -> dict[str, Any]:
    """128 channels, 256 sequences or fewer; all ways eager first, for a capture that fails would spoil what follows."""
    device, channels = setting.where, setting.choose(128, 2)
    batch = setting.choose(max(1, min(BATCH, TOKENS // length)), 3)
    works = chains(channels, batch, length, device)
    repeats, calls = setting.choose(7, 1), setting.choose(5, 1)
    rows: list[dict[str, Any]] = [
        {"way": way, "queued_s": queued_s(work, device, repeats, calls)} for way, work in works.items()
    ]
    clock = "queued_s"
    try:
        for row, work in zip(rows, works.values(), strict=True):
            row["replayed_s"] = replayed_s(work, device, setting.choose(20, 1))
        clock = "replayed_s"
    except RuntimeError as error:
        rows.append({"way": "replayed", "failed": str(error).splitlines()[0][:300]})
    by_way: dict[str, float] = {str(row["way"]): float(row[clock]) for row in rows if clock in row}
    best = min(by_way[way] for way in our_chains(length, device))
    line = ", ".join(f"{way} {1e3 * seconds:.3f} ms" for way, seconds in by_way.items())
    return {
        "line": f"{by_way['published'] / best:.1f} times the published; {line}",
        "channels": channels,
        "batch": batch,
        "length": length,
        "clock": clock,
        "spoilt": clock != "replayed_s",
        "speed_up": round(by_way["published"] / best, 2),
        "rows": rows,
    }


def beside_flash_fft_conv(setting: Setting) -> dict[str, Any]:
    """The gated convolution, forward, at FlashFFTConv's batch 64 and 768 channels, beside what it published.

    Where that does not fit into the memory at once, a smaller batch is timed and scaled, as theirs was.
    """
    device, channels = setting.where, setting.choose(768, 2)
    rows: list[dict[str, Any]] = []
    for length, (pytorch_ms, flash_ms) in FLASH_FFT_CONV_MS.items():
        if setting.tiny and length > 256:
            break
        batch = setting.choose(max(1, min(64, 2**17 // length)), 2)
        inputs = chain_inputs(channels, batch, length, device)
        channel_last = [inputs[0].transpose(0, 1).contiguous(), *inputs[1:]]
        rounded = [x.detach() for x in _learnt(inputs, rounded=True)]
        ours = our_chains(length, device)
        works = {way: functools.partial(function, *rounded) for way, function in ours.items()}
        works["published"] = functools.partial(published_chain, *channel_last)
        with torch.no_grad():
            took = {way: 1e3 * replayed_s(work, device, setting.choose(20, 1)) for way, work in works.items()}
        scale = 64 / batch
        rows.append({
            "length": length, "batch": batch, **{f"{way}_ms_at_64": round(ms * scale, 4) for way, ms in took.items()},
            "speed_up": round(took["published"] / min(took[way] for way in ours), 2),
            "flash_fft_conv_speed_up": round(pytorch_ms / flash_ms, 2),
            "flash_fft_conv_ms": flash_ms, "flash_fft_conv_pytorch_ms": pytorch_ms,
        })  # fmt: skip
    line = ", ".join(f"{r['length']}: {r['speed_up']}× (theirs {r['flash_fft_conv_speed_up']}×)" for r in rows)
    return {"line": line, "channels": channels, "rows": rows}


def tiles(length: int, setting: Setting) -> dict[str, Any]:
    """The kernels with other tiles and warps: seconds of each, its error beside FFTs, and each kernel's own time."""
    device = setting.where
    require_kernels(device)
    from hyena.convolution.triton_kernels import TRIED, TritonGatedConvolution

    channels, batch = setting.choose(128, 2), setting.choose(max(1, min(BATCH, TOKENS // length)), 3)
    inputs = _learnt(chain_inputs(channels, batch, length, device), rounded=True)
    expected = there_and_back(by_fft, *inputs)()
    rows: list[dict[str, Any]] = []
    for tiling in setting.choose(TRIED, TRIED[:2]):
        row: dict[str, Any] = tiling._asdict()
        try:
            work = there_and_back(lambda *x, tiling=tiling: TritonGatedConvolution.apply(*x, tiling), *inputs)
            row["error"] = float(f"{worst_difference(work(), expected):.3g}")
            row["replayed_s"] = replayed_s(work, device, setting.choose(20, 1))
            row["kernels"] = _by_kernel(work, device)[:8]
        except Exception as error:  # more shared memory or registers than there are, say
            row["failed"] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        rows.append(row)
    timed = [row for row in rows if "replayed_s" in row]
    best = min(timed, key=lambda row: row["replayed_s"])
    chosen = {name: best[name] for name in TRIED[0]._fields}
    return {"line": f"best {1e3 * best['replayed_s']:.3f} ms: {chosen}", "length": length, "batch": batch, "rows": rows}


def worst_difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest relative one: the norm of a difference over the norm of what is expected."""
    pairs = zip(found, expected, strict=True)
    return max(float((one.double() - other.double()).norm() / other.double().norm()) for one, other in pairs)


def kernels(size: str, setting: Setting) -> dict[str, Any]:
    """The ten kernels that take longest in a step of one size at 500 positions, and how long the device is idle."""
    device, length = setting.where, setting.choose(500, 48)
    config, batch = PUBLISHED[f"hyenadna-{size}"], setting.choose(BATCH, 4)
    work = steps(config, batch, length, device, ["ours"], "bfloat16")["ours"]
    for _ in range(3):
        work()
    step_s = queued_s(work, device, setting.choose(7, 1), calls=setting.choose(5, 1))
    found = _by_kernel(work, device)
    busy_s = sum(row["seconds"] for row in found)
    line = ", ".join(f"{row['kernel'][:40]} {100 * row['seconds'] / busy_s:.0f} %" for row in found[:4])
    return {
        "line": f"device busy {100 * busy_s / step_s:.0f} % of {1e3 * step_s:.2f} ms; {line}",
        "batch": batch,
        "length": length,
        "step_s": step_s,
        "busy_s": busy_s,
        "kernels": len(found),
        "launches": sum(row["calls"] for row in found),
        "longest": found[:10],
    }


def _by_kernel(work: Callable[[], Any], device: torch.device) -> list[dict[str, Any]]:
    """Seconds and launches of each kernel in one call (of each operation on a CPU), the longest first."""
    calls = 3
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        for _ in range(calls):
            work()
        if on_gpu:
            torch.cuda.synchronize(device)
    rows = []
    for event in profiler.key_averages():
        if on_gpu and (event.device_type != torch.autograd.DeviceType.CUDA or event.is_user_annotation):
            continue
        total = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        if total > 0:
            rows.append({"kernel": event.key[:160], "seconds": total / calls / 1e6, "calls": event.count / calls})
    return sorted(rows, key=lambda row: -row["seconds"])
