"""What one run gets of a cluster."""

import torch

from sweep.resources import Share
from sweep.study import Resources


def test_gpus_are_shared_where_there_are_any() -> None:
    share = Share.of(Resources(cpus=2, gpus=0.25), {"CPU": 96, "GPU": 8})
    assert share == Share(cpus=2, gpus=0.25, concurrent_runs=4)
    assert share.request() == {"CPU": 2, "GPU": 0.25}
    assert share.parallel({"CPU": 96, "GPU": 8}) == 32
    assert share.parallel({"CPU": 20, "GPU": 8}) == 10  # the cores are what is short


def test_a_fraction_that_does_not_divide_a_gpu_rounds_down() -> None:
    assert Share.of(Resources(gpus=0.3), {"CPU": 8, "GPU": 1}).concurrent_runs == 3


def test_cores_alone_where_there_is_no_gpu() -> None:
    share = Share.of(Resources(cpus=2, gpus=0.25), {"CPU": 5})
    assert share == Share(cpus=2, gpus=0.0, concurrent_runs=2)
    assert share.request() == {"CPU": 2}
    assert share.parallel({"CPU": 5}) == 2


def test_a_cluster_that_grows_from_zero_is_asked_for_gpus() -> None:
    assert Share.of(Resources(gpus=0.5), {"memory": 1e9}).request() == {"CPU": 1, "GPU": 0.5}


def test_a_study_can_keep_its_runs_off_the_gpus() -> None:
    assert Share.of(Resources(gpus=0), {"CPU": 4, "GPU": 1}) == Share(cpus=1, gpus=0.0, concurrent_runs=4)


def test_a_worker_is_held_to_its_threads() -> None:
    before = torch.get_num_threads()
    try:
        assert Share(cpus=3, gpus=0.0, concurrent_runs=1).occupy() == torch.device("cpu")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
