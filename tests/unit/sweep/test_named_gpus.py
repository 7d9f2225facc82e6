"""Times of GPUs by name: derived from published rates, or from measurements where there are any."""

import json
from pathlib import Path

import pytest

from hyena.cost.flops import BatchWork, flops
from hyena.errors import InputError
from hyena.model.config import PUBLISHED
from sweep.named_gpus import CAPTURED_LAUNCH_S, GPUS, LAUNCH_S, PRODUCT_SHARE, TRAFFIC_SHARE, measured, named

TINY, LARGE = PUBLISHED["hyenadna-tiny-1k-seqlen"], PUBLISHED["hyenadna-large-1m-seqlen"]


def test_names_are_found_whatever_their_case_and_hyphens() -> None:
    assert named("a100-80gb") is GPUS["A100-80GB"]
    assert named("rtx-4090") is named("RTX 4090") is GPUS["RTX 4090"]
    assert named("rtx4090") is named("NVIDIA GeForce RTX 4090") is GPUS["RTX 4090"]
    assert named("nvidia a100") is GPUS["A100"]


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError) as error:
        named("A1000")
    assert str(error.value) == (
        "--gpu A1000: unknown GPU; did you mean 'A100'? (all: T4, V100, V100-32GB, A10, A100, A100-80GB, RTX 3090, "
        "RTX A6000, L4, L40S, RTX 4090, H100-PCIe, H100, H200, B200)"
    )


@pytest.mark.parametrize("name", ["voodoo", "", " "])
def test_a_name_like_no_other_is_refused_with_the_known_ones_once(name: str) -> None:
    with pytest.raises(InputError) as error:
        named(name)
    assert str(error.value) == f"--gpu {name}: unknown GPU; known: {', '.join(GPUS)}"


def test_a_large_step_takes_the_time_of_its_products_and_traffic() -> None:
    gpu, work = GPUS["A100"], BatchWork("train", LARGE, 256, 500)
    traffic = 4 * 256 * 500 * 8 * (218 * 256 + 13 * 1024)
    expected = flops(work, "cuda").products / (PRODUCT_SHARE * 19.5e12) + traffic / (TRAFFIC_SHARE * 1_555e9)
    assert gpu.seconds(work) == pytest.approx(expected)
    rounded = BatchWork("train", LARGE, 256, 500, precision="bfloat16")
    assert gpu.seconds(rounded) < expected / 3


def test_a_small_step_takes_the_time_to_launch_its_kernels() -> None:
    gpu, work = GPUS["H100"], BatchWork("train", TINY, 1, 100)
    assert gpu.seconds(work) == (36 + 2 * 122) * LAUNCH_S
    assert gpu.seconds(work, captured=True) == (36 + 2 * 122) * CAPTURED_LAUNCH_S
    assert gpu.seconds(BatchWork("evaluate", TINY, 1, 100)) == (5 + 2 * 41) * LAUNCH_S


def test_faster_gpus_are_faster() -> None:
    times = [GPUS[name].seconds(BatchWork("train", LARGE, 256, 500)) for name in ("T4", "V100", "A100", "H100", "H200")]
    assert times == sorted(times, reverse=True)


def record(**changed: object) -> str:
    rows = [
        {"way": "published", "precision": "float32", "batch": 256, "step_s": 1.0},
        {"way": "ours", "precision": "float32", "batch": 256, "step_s": 0.5},
        {"way": "ours", "precision": "bfloat16", "batch": 256, "step_s": 0.125},
        {"way": "ours", "precision": "bfloat16", "batch": 512, "step_s": None},
    ]
    return json.dumps({"status": "measured", "tiny": False, "result": {"rows": rows}, **changed})


def test_measured_steps_replace_derived_ones(tmp_path: Path) -> None:
    folder = tmp_path / "nvidia-a100-sxm4-80gb"
    folder.mkdir()
    (folder / "speed-step-tiny-1k-seqlen-500.json").write_text(record())
    (folder / "speed-step-large-1m-seqlen-500.json").write_text(record(tiny=True))
    (folder / "speed-rates.json").write_text("{}")
    rates = measured(GPUS["A100-80GB"], tmp_path)
    assert rates is not None
    assert len(rates.samples) == 2
    assert rates.seconds(BatchWork("train", TINY, 256, 500)) == pytest.approx(0.5)
    assert rates.seconds(BatchWork("train", TINY, 256, 500, precision="bfloat16")) == pytest.approx(0.125)


def test_measurements_of_other_gpus_are_ignored(tmp_path: Path) -> None:
    folder = tmp_path / "nvidia-a100-sxm4-40gb"
    folder.mkdir()
    (folder / "speed-step-tiny-1k-seqlen-500.json").write_text(record())
    assert measured(GPUS["A100-80GB"], tmp_path) is None
    assert measured(GPUS["H100"], tmp_path / "nothing") is None
