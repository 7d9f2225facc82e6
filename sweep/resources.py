"""The share of a cluster that one trial gets. Next: `gpu_probe.py`, which measures how much a run needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from sweep.study import AUTO, Resources


class NoDeviceError(RuntimeError):
    """Ray assigned a GPU that torch cannot use."""


@dataclass(frozen=True)
class Share:
    """The resources of one trial, all on one node.

    Attributes:
        cpus: number of cores, and of torch threads.
        gpus: fraction of one GPU; 0 on a CPU.
        concurrent_trials: number of trials that run at once on one GPU (on a CPU: on the cluster's cores).
        stack: largest number of runs of a cell that are trained as one model.
        captured: whether their training steps are replayed as CUDA graphs.
    """

    cpus: int
    gpus: float
    concurrent_trials: int
    stack: int = 1
    captured: bool = False

    @classmethod
    def of(cls, wanted: Resources, cluster: Mapping[str, float]) -> Share:
        """The share on a cluster with these Ray resources: part of a GPU if it has any, else CPU cores only.

        A cluster without cores and GPUs scales up from zero nodes, and is assumed to add GPUs. Where the study leaves
        the GPU fraction to measurement, the share is a whole GPU.
        """
        cores, gpus = cluster.get("CPU", 0), cluster.get("GPU", 0)
        fraction = 1.0 if wanted.gpus == AUTO else float(wanted.gpus)
        stack = 1 if wanted.stack == AUTO else int(wanted.stack)
        if fraction > 0 and (gpus > 0 or cores == 0):
            return cls(wanted.cpus, fraction, int(1 / fraction), stack, wanted.captured)
        return cls(wanted.cpus, 0.0, max(1, int(cores // wanted.cpus)), stack)

    def one_of(self, trials: int) -> Share:
        """The same share with the GPU divided equally between `trials`."""
        return replace(self, gpus=1.0 / trials, concurrent_trials=trials)

    def larger(self) -> Share | None:
        """The next share to try when this one is too small: about twice the fraction, or half the stack on a whole GPU.

        None if this is a whole GPU for one run, or on a CPU.
        """
        if 0 < self.gpus < 1:
            return self.one_of(max(1, self.concurrent_trials // 2))
        return replace(self, stack=self.stack // 2) if self.gpus and self.stack > 1 else None

    def request(self) -> dict[str, float]:
        """The share as Ray's resource request, a bundle of a placement group."""
        return {"CPU": self.cpus, **({"GPU": self.gpus} if self.gpus else {})}

    def shortage(self, nodes: Sequence[Mapping[str, float]]) -> str | None:
        """The reason why no node with such Ray resources can hold a trial; None where one can."""
        with_gpu = [node for node in nodes if node.get("GPU", 0) >= self.gpus]
        if not with_gpu and self.gpus:
            return f"resources.gpus = {self.gpus:g}: no node has a GPU"
        most = max((int(node.get("CPU", 0)) for node in with_gpu), default=0)
        if most >= self.cpus:
            return None
        kind = "node with a GPU" if self.gpus else "node"
        return f"resources.cpus = {self.cpus}: no {kind} has more than {most} core{'s' * (most != 1)}"

    def words(self) -> str:
        """The share in words, such as "2 cores and a GPU"."""
        cores = f"{self.cpus} core{'s' * (self.cpus != 1)}"
        gpu = "" if not self.gpus else " and a GPU" if self.gpus == 1 else f" and {self.gpus:.2g} of a GPU"
        return cores + gpu

    def parallel(self, cluster: Mapping[str, float]) -> int:
        """Number of trials that run at once on the whole cluster."""
        by_cpu = int(cluster.get("CPU", 0) // self.cpus)
        by_gpu = int(cluster.get("GPU", 0)) * self.concurrent_trials if self.gpus else by_cpu
        return max(1, min(by_cpu, by_gpu))

    def occupy(self) -> torch.device:
        """Limit this process to its share, and return its device. Raises NoDeviceError.

        Ray uses GPU fractions for scheduling only. The allocator is capped here, so that a run that needs too much
        memory fails by itself and not its neighbours. Threads are set because Ray always starts workers with one.
        """
        torch.set_num_threads(self.cpus)
        if not self.gpus:
            return torch.device("cpu")
        if not torch.cuda.is_available():
            raise NoDeviceError(
                f"Ray gave this process a GPU that torch {torch.__version__} cannot use: install a CUDA build of torch "
                "(README.md, Installation) or a matching driver, or set resources.gpus = 0"
            )
        device = torch.device("cuda", 0)  # Ray makes only the worker's own GPU visible
        torch.cuda.set_per_process_memory_fraction(self.gpus, device)
        return device
