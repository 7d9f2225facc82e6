"""What a cluster has, and what one run gets of it. Next: `gpu_probe.py`, which measures how much a run needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from sweep.study import AUTO, Resources


class NoDeviceError(RuntimeError):
    """Ray counts a GPU here that torch cannot use."""


@dataclass(frozen=True)
class Share:
    """One trial's part of a node.

    Attributes:
        cpus: whole cores, as many torch threads.
        gpus: fraction of one GPU; 0 on a CPU.
        concurrent_trials: trials that fit beside each other on one GPU (on a CPU: on the cluster's cores).
        stack: most runs of a cell that are trained as one model in it.
        captured: whether their steps are replayed as CUDA graphs.
    """

    cpus: int
    gpus: float
    concurrent_trials: int
    stack: int = 1
    captured: bool = False

    @classmethod
    def of(cls, wanted: Resources, cluster: Mapping[str, float]) -> Share:
        """`wanted` on a cluster with these Ray resources: part of a GPU where there are any, CPU cores alone where not.

        A cluster that has no core for runs either is one that grows from zero: it is asked for GPUs. Where the study
        leaves the GPU's part to measurement, this is a whole one.
        """
        cores, gpus = cluster.get("CPU", 0), cluster.get("GPU", 0)
        part = 1.0 if wanted.gpus == AUTO else float(wanted.gpus)
        stack = 1 if wanted.stack == AUTO else int(wanted.stack)
        if part > 0 and (gpus > 0 or cores == 0):
            return cls(wanted.cpus, part, int(1 / part), stack, wanted.captured)
        return cls(wanted.cpus, 0.0, max(1, int(cores // wanted.cpus)), stack)

    def one_of(self, trials: int) -> Share:
        """The same, with the GPU divided between so many trials."""
        return replace(self, gpus=1.0 / trials, concurrent_trials=trials)

    def larger(self) -> Share | None:
        """What to try after this was too small: twice as much of the GPU, or half as many runs on a whole one.

        None when it was a whole GPU for one run, and on a CPU.
        """
        if 0 < self.gpus < 1:
            return self.one_of(max(1, self.concurrent_trials // 2))
        return replace(self, stack=self.stack // 2) if self.gpus and self.stack > 1 else None

    def request(self) -> dict[str, float]:
        """In Ray's words: a bundle of a placement group."""
        return {"CPU": self.cpus, **({"GPU": self.gpus} if self.gpus else {})}

    def shortage(self, nodes: Sequence[Mapping[str, float]]) -> str | None:
        """Why no node with such Ray resources could ever hold a trial; None where one can."""
        with_gpu = [node for node in nodes if node.get("GPU", 0) >= self.gpus]
        if not with_gpu and self.gpus:
            return f"resources.gpus = {self.gpus:g}: no node has a GPU"
        most = max((int(node.get("CPU", 0)) for node in with_gpu), default=0)
        if most >= self.cpus:
            return None
        kind = "node with a GPU" if self.gpus else "node"
        return f"resources.cpus = {self.cpus}: no {kind} has more than {most} core{'s' * (most != 1)}"

    def words(self) -> str:
        """What a trial needs, as "2 cores and a GPU"."""
        cores = f"{self.cpus} core{'s' * (self.cpus != 1)}"
        gpu = "" if not self.gpus else " and a GPU" if self.gpus == 1 else f" and {self.gpus:.2g} of a GPU"
        return cores + gpu

    def parallel(self, cluster: Mapping[str, float]) -> int:
        """Trials that the whole cluster holds at once."""
        by_cpu = int(cluster.get("CPU", 0) // self.cpus)
        by_gpu = int(cluster.get("GPU", 0)) * self.concurrent_trials if self.gpus else by_cpu
        return max(1, min(by_cpu, by_gpu))

    def occupy(self) -> torch.device:
        """Hold this process to its share, and return its device.

        Ray only admits by fractions. So that a run which is too big fails alone and not its neighbours, the
        allocator is capped here; threads are set because Ray's own default is one whatever was asked for.
        """
        torch.set_num_threads(self.cpus)
        if not self.gpus:
            return torch.device("cpu")
        if not torch.cuda.is_available():
            raise NoDeviceError(
                f"Ray gave this process a GPU that torch {torch.__version__} cannot use: install a CUDA build of torch "
                "(README.md, Installation) or a driver that fits it, or set resources.gpus = 0"
            )
        device = torch.device("cuda", 0)  # Ray shows a worker its own GPU only
        torch.cuda.set_per_process_memory_fraction(self.gpus, device)
        return device
