"""How much GPU memory a run needs: measured by a short probe, remembered per kind of run and per type of GPU.

A probe takes two training steps and one evaluation batch of the real model on random tokens, alone on a GPU. Its peak,
with headroom, says how many such runs a GPU of that type holds at once. Records are kept in the results folder, so
each kind of run is probed once a study. Next: `resources.py`, what a run is given.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import ray
import torch

from hyena.config import HyenaConfig
from hyena.errors import InputError
from hyena.model import Classifier, initialise
from hyena.training import Batch, TrainingConfig, optimisation_step, optimizer_for, predict
from sweep.resources import NoDeviceError, Share
from sweep.store import Store
from sweep.study import Resources
from sweep.trials import RunSpec

#: Over the probe's peak: fragmentation, and the odd buffer of a library that a probe does not meet.
HEADROOM = 1.15
#: Training values that leave no trace in the memory: runs that differ in these alone are of one kind.
TRACELESS = (
    "epochs", "learning_rate", "final_learning_rate", "warmup_learning_rate", "warmup_fraction", "weight_decay",
    "gradient_clip", "reverse_complement", "split", "validation_fraction", "train_fraction",
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """All of a run that its memory depends on, but the data set, which is simply so many bytes."""

    config: HyenaConfig
    training: TrainingConfig
    num_classes: int
    frozen: bool

    @classmethod
    def of(cls, run: RunSpec) -> Kind:
        values = {k: v for k, v in dataclasses.asdict(run.training).items() if k not in TRACELESS}
        return cls(run.config, TrainingConfig(epochs=1, **values), run.facts.num_classes, run.init == "frozen")

    @property
    def key(self) -> str:
        values = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(values.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Measured:
    """What a probe found.

    Attributes:
        device: name of the type of GPU.
        total_bytes: its memory.
        outside_bytes: what a process holds of it besides the allocator's (the CUDA context and libraries).
        peak_bytes: peak that the allocator had reserved; above `total_bytes` where not even a whole GPU was enough.
    """

    device: str
    total_bytes: int
    outside_bytes: int
    peak_bytes: int

    def runs_at_once(self, data_bytes: int) -> int:
        """Runs of this kind that one such GPU holds, each with so much data on it; at least 1."""
        each = HEADROOM * (self.peak_bytes + data_bytes) + self.outside_bytes
        return max(1, int(self.total_bytes / each))


def measure(kind: Kind, share: Share) -> Measured:
    """Probe on this process's GPU. A run that does not fit is a finding, not an error."""
    device = share.occupy()
    free, total = torch.cuda.mem_get_info(device)
    peak = total + 1
    try:
        probe(kind, device)
        peak = torch.cuda.max_memory_reserved(device)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(device)
    outside = max(0, total - free - torch.cuda.memory_reserved(device))
    return Measured(torch.cuda.get_device_name(device), total, outside, peak)


def probe(kind: Kind, device: torch.device) -> None:
    """Two training steps (the second has the optimiser's state) and an evaluation batch, on random tokens."""
    config, length = kind.training, kind.training.max_length or kind.config.l_max
    model = Classifier(kind.config, kind.num_classes, config.pooling, config.padding)
    initialise(model, 0)
    if kind.frozen:
        model.backbone.requires_grad_(False)
    model.to(device)
    tokens = torch.randint(7, 11, (config.batch_size, length), dtype=torch.uint8, device=device)
    lengths = torch.full((config.batch_size,), length, device=device)
    batch = Batch(tokens, lengths, torch.zeros(config.batch_size, dtype=torch.int64, device=device))
    optimizer = optimizer_for(model, config)
    for _ in range(2):
        optimisation_step(model, optimizer, batch, config.learning_rate, config)
    predict(model, batch, config)


def shares(runs: Iterable[RunSpec], whole: Share, wanted: Resources, store: Store) -> dict[str, Share]:
    """The share of each run, by `run_id`, from what is remembered and from probes of what is not.

    Args:
        whole: the share of a run that has a GPU to itself; one without a GPU is everybody's.
    """
    runs = list(runs)
    if not whole.gpus:
        return {run.run_id: whole for run in runs}
    kinds = {Kind.of(run).key: Kind.of(run) for run in runs}
    known = remembered(store)
    task = ray.remote(measure).options(num_cpus=whole.cpus, num_gpus=1, max_retries=3)
    probes = {key: task.remote(kind, whole) for key, kind in kinds.items() if key not in known}
    for key, answer in probes.items():
        try:
            known[key] = ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, NoDeviceError):
                raise InputError(str(error.cause)) from None
            continue  # such runs get a GPU each, and will say themselves what is wrong with them
        store.write(f"memory/{key}.json", json.dumps(dataclasses.asdict(known[key])).encode())
    return {run.run_id: _share(run, known.get(Kind.of(run).key), whole, wanted) for run in runs}


def remembered(store: Store) -> dict[str, Measured]:
    """What earlier probes found, by the key of their kind."""
    found: dict[str, Measured] = {}
    for name in store.names("memory"):
        values: Mapping[str, object] = json.loads(store.read(f"memory/{name}") or b"{}")
        found[name.removesuffix(".json")] = Measured(**values)  # type: ignore[arg-type]
    return found


def _share(run: RunSpec, measured: Measured | None, whole: Share, wanted: Resources) -> Share:
    if measured is None:
        return whole
    facts = run.facts
    examples = facts.train_examples + facts.validation_examples + facts.test_examples
    data_bytes = examples * (run.training.max_length or 0)  # a token is a byte
    return whole.one_of(min(wanted.runs_per_gpu, measured.runs_at_once(data_bytes)))
