"""The share of a cluster that one trial gets."""

import pytest
import torch

from sweep.resources import NoDeviceError, Share
from sweep.study import Resources


def test_runs_share_gpus_where_the_cluster_has_any() -> None:
    share = Share.of(Resources(cpus=2, gpus=0.25), {"CPU": 96, "GPU": 8})
    assert share == Share(cpus=2, gpus=0.25, concurrent_trials=4)
    assert share.request() == {"CPU": 2, "GPU": 0.25}
    assert share.parallel({"CPU": 96, "GPU": 8}) == 32
    assert share.parallel({"CPU": 20, "GPU": 8}) == 10  # limited by the cores


def test_a_fraction_that_does_not_divide_a_gpu_rounds_down() -> None:
    assert Share.of(Resources(gpus=0.3), {"CPU": 8, "GPU": 1}).concurrent_trials == 3


def test_a_share_is_a_whole_gpu_until_it_is_measured() -> None:
    whole = Share.of(Resources(), {"CPU": 8, "GPU": 2})
    assert (whole.gpus, whole.concurrent_trials) == (1.0, 1)
    assert whole.one_of(5) == Share(cpus=1, gpus=0.2, concurrent_trials=5)


def test_a_share_that_is_too_small_grows_up_to_a_whole_gpu() -> None:
    share = Share(cpus=1, gpus=1 / 6, concurrent_trials=6)
    grown = []
    while (larger := share.larger()) is not None:
        share = larger
        grown.append((share.concurrent_trials, share.gpus))
    assert grown == [(3, 1 / 3), (1, 1.0)]
    assert Share(cpus=1, gpus=1.0, concurrent_trials=1, stack=5).larger() == Share(1, 1.0, 1, stack=2)
    assert Share(cpus=1, gpus=0.0, concurrent_trials=4).larger() is None


def test_a_gpu_that_torch_cannot_use_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(NoDeviceError, match=r"install a CUDA build of torch .* or set resources\.gpus = 0"):
        Share(cpus=torch.get_num_threads(), gpus=0.5, concurrent_trials=2).occupy()


def test_a_cluster_without_gpus_gives_cores_only() -> None:
    share = Share.of(Resources(cpus=2, gpus=0.25), {"CPU": 5})
    assert share == Share(cpus=2, gpus=0.0, concurrent_trials=2)
    assert share.request() == {"CPU": 2}
    assert share.parallel({"CPU": 5}) == 2


def test_a_cluster_that_scales_from_zero_is_asked_for_gpus() -> None:
    assert Share.of(Resources(gpus=0.5), {"memory": 1e9}).request() == {"CPU": 1, "GPU": 0.5}


def test_a_study_can_keep_its_runs_off_the_gpus() -> None:
    assert Share.of(Resources(gpus=0), {"CPU": 4, "GPU": 1}) == Share(cpus=1, gpus=0.0, concurrent_trials=4)


@pytest.mark.parametrize(
    ("share", "nodes", "reason"),
    [
        (Share(2, 0.0, 1), [{"CPU": 2.0}], None),
        (Share(3, 0.0, 1), [{"CPU": 2.0}, {"CPU": 1.0}], "resources.cpus = 3: no node has more than 2 cores"),
        (Share(2, 0.0, 1), [{"CPU": 1.0}], "resources.cpus = 2: no node has more than 1 core"),
        (Share(1, 0.0, 1), [{"memory": 1e9}], "resources.cpus = 1: no node has more than 0 cores"),
        (Share(4, 0.5, 2), [{"CPU": 64.0}, {"CPU": 4.0, "GPU": 1.0}], None),
        (
            Share(8, 0.5, 2),
            [{"CPU": 64.0}, {"CPU": 4.0, "GPU": 1.0}],
            "resources.cpus = 8: no node with a GPU has more than 4 cores",
        ),
        (Share(1, 0.5, 2), [{"CPU": 64.0}], "resources.gpus = 0.5: no node has a GPU"),
        (Share(1, 0.0, 1), [], "resources.cpus = 1: no node has more than 0 cores"),
    ],
)
def test_a_share_too_large_for_every_node_is_reported(
    share: Share, nodes: list[dict[str, float]], reason: str | None
) -> None:
    assert share.shortage(nodes) == reason


def test_a_share_in_words() -> None:
    assert Share(1, 0.0, 1).words() == "1 core"
    assert Share(2, 1.0, 1).words() == "2 cores and a GPU"
    assert Share(2, 0.25, 4).words() == "2 cores and 0.25 of a GPU"


def test_a_worker_uses_the_threads_of_its_share() -> None:
    before = torch.get_num_threads()
    try:
        assert Share(cpus=3, gpus=0.0, concurrent_trials=1).occupy() == torch.device("cpu")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_steps_are_captured_only_on_gpus_and_if_the_study_says_so() -> None:
    wanted = Resources(captured=True)
    on_gpu = Share.of(wanted, {"CPU": 8, "GPU": 1})
    assert on_gpu.captured
    assert on_gpu.one_of(4).captured
    assert not Share.of(wanted, {"CPU": 8}).captured
    assert not Share.of(Resources(), {"CPU": 8, "GPU": 1}).captured
