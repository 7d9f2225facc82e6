"""What was measured on a GPU, as Markdown: first the aims and whether they are met, then a table a question."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.session import Status, last_line
from benchmarks.gpu.speed import LENGTHS, STUDIED
from benchmarks.training_step import OURS

Record = Mapping[str, Any]


def tables(folder: Path) -> Iterator[str]:
    """The lines of a page about the records in that folder. Nothing is said of what was not measured."""
    records = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    measured = {
        name: record for name, record in records.items()
        if record["status"] == Status.MEASURED and "not_here" not in record["result"]
    }  # fmt: skip
    if not records:
        yield f"no measurements in {folder}"
        return
    yield _where(records.values())
    yield from _section("Aims", ("aim", "wanted", "found", "met"), _aims(measured))
    for title, start, header, rows in SECTIONS:
        chosen = {name.removeprefix(start): record for name, record in measured.items() if name.startswith(start)}
        yield from _section(title, header, (row for name, record in chosen.items() for row in rows(name, record)))
    missing = [(name, record["status"], last_line(record["error"])) for name, record in records.items()
               if record["status"] != Status.MEASURED]  # fmt: skip
    yield from _section("Not measured", ("measurement", "status", "why"), missing)


def _where(records: Iterable[Record]) -> str:
    """Machine and versions; of several, all."""
    keys = ("device", "driver", "cuda", "torch", "triton", "ray", "python", "commit")
    found = {tuple((key, record[key]) for key in keys if record.get(key)) for record in records}
    return "\n".join(", ".join(f"{key} {value}" for key, value in one) for one in sorted(found))


def _section(title: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    rows = list(rows)
    if rows:
        yield f"\n### {title}\n"
        yield "| " + " | ".join(header) + " |"
        yield "|" + "---|" * len(header)
        yield from ("| " + " | ".join(_shown(value) for value in row) + " |" for row in rows)


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "/").replace("\n", " ")


def _aims(measured: Mapping[str, Record]) -> Iterator[tuple[Any, ...]]:
    def result(name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = measured[name]["result"] if name in measured else {}
        return found

    for size in STUDIED:
        baseline = result(f"sweeping-published-{size}").get("runs_an_hour")
        found = [record["result"]["runs_an_hour"] for name, record in measured.items()
                 if name.startswith(f"sweeping-runs-{size}-")]  # fmt: skip
        if baseline and found:
            ratio = max(found) / baseline
            yield f"runs an hour, {size}, to the published way", "≥ 20", ratio, ratio >= 20
    for size in STUDIED:
        for length in sorted(LENGTHS):
            rows = result(f"speed-step-{size}-{length}").get("rows", [])
            ratios = [row["speed_up"] for row in rows if row["way"] in OURS and row["speed_up"]]
            if ratios:
                yield f"step, {size} at {length}, to the published way in float32", "≥ 5", max(ratios), max(ratios) >= 5
    for length in sorted(LENGTHS):
        ratio = result(f"speed-convolution-{length}").get("speed_up")
        if ratio:
            yield f"gate chain at {length}, to PyTorch's FFT (FlashFFTConv: 7.93)", "≥ 8", ratio, ratio >= 8
    rows = result(f"speed-step-{STUDIED[1]}-500").get("rows", [])
    shares = [r["share_of_matrix_rate"] for r in rows if r["way"] in OURS and r["precision"] == "bfloat16"]
    if shares:
        yield (
            f"share of the matrix rate, {STUDIED[1]} at 500 (FlashFFTConv: 0.62)",
            "> 0.62",
            max(shares),
            (max(shares) > 0.62),
        )
    errors = result("training-memory-model-bfloat16").get("worst_error", {})
    if errors:
        yield "memory forecast, worst error", "< 0.15", max(errors.values()), max(errors.values()) < 0.15


def _rows_of(*columns: str) -> Callable[[str, Record], Iterator[tuple[Any, ...]]]:
    """A row for each of a result's rows: the measurement's name, then these of its columns."""

    def rows(name: str, record: Record) -> Iterator[tuple[Any, ...]]:
        for row in record["result"]["rows"]:
            yield name, *(row.get(column) for column in columns)

    return rows


def _result_of(*keys: str) -> Callable[[str, Record], Iterator[tuple[Any, ...]]]:
    """One row: the measurement's name, then these of its result."""

    def rows(name: str, record: Record) -> Iterator[tuple[Any, ...]]:
        yield name, *(record["result"].get(key) for key in keys)

    return rows


def _longest(name: str, record: Record) -> Iterator[tuple[Any, ...]]:
    result = record["result"]
    for row in result["longest"]:
        yield name, row["kernel"][:70], row["calls"], 1e3 * row["seconds"], row["seconds"] / result["busy_s"]


def _errors(name: str, record: Record) -> Iterator[tuple[Any, ...]]:
    yield from record["result"]["worst_error"].items()


_STEP = ("way", "precision", "batch", "step_s", "speed_up", "tokens_per_s", "share_of_matrix_rate", "peak_bytes")
_EPOCH, _STACK = ("way", "epoch_s", "speed_up", "letters_per_s", "peak_bytes"), (
    "seeds", "captured", "step_s", "s_per_seed", "speed_up", "peak_bytes",
)  # fmt: skip
_TILES = (
    "tile", "rows", "warps", "stages", "outer_tile", "outer_warps", "outer_stages", "strip", "sequences", "replayed_s",
    "error", "failed",
)  # fmt: skip
_RUNS = (
    "runs_an_hour", "gpu_fraction", "stacked_runs", "concurrent_runs", "own_s_a_run", "until_first_run_s", "wall_s",
)  # fmt: skip
_FLASH = ("length", "published_ms_at_64", "fft_ms_at_64", "triton_ms_at_64", "speed_up", "flash_fft_conv_ms",
          "flash_fft_conv_speed_up")  # fmt: skip
_LONG = ("length", "checkpointed", "seconds", "peak_bytes", "bytes_per_position", "failed")
_ERROR = ("bfloat16_hidden", "bfloat16_logits", "bfloat16_loss", "bfloat16_gradient", "bfloat16_worst_gradient")
_RATES = ("bfloat16_flop_per_s", "float32_flop_per_s", "bytes_per_s")

#: Title, how the files' names begin, columns, and the rows of a record.
SECTIONS: tuple[tuple[str, str, Sequence[str], Callable[[str, Record], Iterator[tuple[Any, ...]]]], ...] = (
    ("Tests", "correctness-tests-", ("file", "passed", "failed", "skipped"), _result_of("passed", "failed", "skipped")),
    ("What bfloat16 costs", "correctness-bfloat16-", ("size", *_ERROR), _result_of(*_ERROR)),
    ("Rates", "speed-rates", ("", *_RATES), _result_of(*_RATES)),
    ("Training step", "speed-step-", ("size and length", *_STEP), _rows_of(*_STEP)),
    ("Compiled step", "speed-compiled-", ("size and length", *_STEP), _rows_of(*_STEP)),
    ("Gate chain, forward and backward", "speed-convolution-", ("length", "way", "queued_s", "replayed_s"),
     _rows_of("way", "queued_s", "replayed_s")),
    ("Gate chain, forward, beside FlashFFTConv", "speed-flash-fft-conv", ("", *_FLASH), _rows_of(*_FLASH)),
    ("Tiles", "speed-tiles-", ("length", *_TILES), _rows_of(*_TILES)),
    ("Longest kernels", "speed-kernels-", ("size", "kernel", "launches", "ms a step", "share of the device's time"),
     _longest),
    ("One epoch", "training-epoch-", ("size", *_EPOCH), _rows_of(*_EPOCH)),
    ("Stacks of seeds", "training-stacks-", ("size and length", *_STACK), _rows_of(*_STACK)),
    ("Memory forecast", "training-memory-model-", ("shapes", "worst error"), _errors),
    ("Long inputs", "training-long-", ("", *_LONG), _result_of(*_LONG)),
    ("Runs an hour", "sweeping-runs-", ("size and ways", *_RUNS), _result_of(*_RUNS)),
    ("Runs an hour, the published way", "sweeping-published-", ("size", "runs_an_hour", "epoch_s"),
     _result_of("runs_an_hour", "epoch_s")),
)  # fmt: skip
