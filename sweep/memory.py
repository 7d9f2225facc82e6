"""How much GPU memory a run needs: measured by a short probe, remembered per kind of run and per type of GPU.

A probe takes two training steps and one evaluation batch of the real model on random tokens, alone on a GPU. Its peak,
with headroom, says how many such runs a GPU of that type holds at once. Records are kept in the results folder, so
each kind of run is probed once a study and type of GPU. Next: `resources.py`, what a run is given.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

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

    def file_of(self, kind: str) -> str:
        """Where this is kept, for a kind's key."""
        return f"memory/{kind}-{slug(self.device)}.json"


def slug(device: str) -> str:
    """A GPU's name as part of a file's: "NVIDIA A100-SXM4-40GB" is nvidia-a100-sxm4-40gb."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def gpu_type(share: Share) -> str:
    """Name of the type of this process's GPU."""
    return torch.cuda.get_device_name(share.occupy())


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
    kinds = {run.run_id: Kind.of(run) for run in runs}
    known = _known({kind.key: kind for kind in kinds.values()}, whole, store)
    return {run.run_id: _share(run, known.get(kinds[run.run_id].key), whole, wanted) for run in runs}


def _known(kinds: Mapping[str, Kind], whole: Share, store: Store) -> dict[str, Measured]:
    """What the GPUs at hand need for these kinds, by key: remembered, or probed now. One whose probe fails is left out.

    A cluster of several types of GPU is measured on whichever answers: where that is too little for another, the run
    comes again with more.
    """

    def task(function: Callable[..., Any]) -> Any:
        return ray.remote(function).options(num_cpus=whole.cpus, num_gpus=1, max_retries=3)

    try:
        here = slug(ray.get(task(gpu_type).remote(whole)))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, NoDeviceError):
            raise InputError(str(error.cause)) from None
        raise
    known = remembered(store, here)
    probes = {key: task(measure).remote(kind, whole) for key, kind in kinds.items() if key not in known}
    for key, answer in probes.items():
        try:
            known[key] = ray.get(answer)
        except ray.exceptions.RayTaskError:
            continue  # such runs get a GPU each, and will say themselves what is wrong with them
        store.write(known[key].file_of(key), json.dumps(dataclasses.asdict(known[key])).encode())
    return known


def remembered(store: Store, device: str = "") -> dict[str, Measured]:
    """What earlier probes found on this type of GPU (its slug; on any), by the key of their kind."""
    found: dict[str, Measured] = {}
    for name in store.names("memory"):
        kind, _, on = name.removesuffix(".json").partition("-")
        if on == device or not device:
            found[kind] = Measured(**json.loads(store.read(f"memory/{name}") or b"{}"))
    return found


def _share(run: RunSpec, measured: Measured | None, whole: Share, wanted: Resources) -> Share:
    if measured is None:
        return whole
    facts = run.facts
    examples = facts.train_examples + facts.validation_examples + facts.test_examples
    data_bytes = examples * ((run.training.max_length or 0) + 16)  # a token is a byte, a length and a label are 8
    return whole.one_of(min(wanted.runs_per_gpu, measured.runs_at_once(data_bytes)))
