"""GPU memory of a trial, and the number of runs to train as one model: measured once, then read from the store.

A probe executes a few training steps and an evaluation batch of the real model on random tokens, alone on a GPU, with
1, 2, 4 … runs as one model. The stack with the shortest time per run is chosen among those that fit; its peak memory,
with headroom, determines how many such trials share a GPU of that type. Measurements are kept in the results folder, so
each kind of run is probed once per study and type of GPU. Next: `resources.py`, the share of a trial.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
import torch

from hyena.cost.step_probe import probe
from hyena.device import is_out_of_memory
from hyena.errors import InputError
from hyena.model.config import HyenaConfig
from hyena.system.waiting import waiting_for
from hyena.training.recipe import TrainingConfig, values_affecting
from sweep.resources import NoDeviceError, Share
from sweep.retries import ENDING
from sweep.store import Store
from sweep.study import AUTO, Resources
from sweep.trials import RunSpec

#: Factor on the probe's peak, for fragmentation and for buffers of libraries that a probe does not allocate.
HEADROOM = 1.15
#: Largest stack that is tried, and the speed-up per run from which on a larger stack is worth its memory.
LARGEST_STACK, WORTH = 32, 1.05
#: Training steps of a probe; where steps are captured, enough for some to be replayed.
STEPS = 6


@dataclass(frozen=True)
class MemoryKind:
    """Everything that the memory of a run depends on, except the data set, whose size in bytes is added to it."""

    config: HyenaConfig
    training: TrainingConfig
    num_classes: int
    frozen: bool

    @classmethod
    def of(cls, run: RunSpec) -> MemoryKind:
        values: dict[str, Any] = {name: getattr(run.training, name) for name in values_affecting("memory")}
        return cls(run.config, TrainingConfig(epochs=1, **values), run.facts.num_classes, run.init == "frozen")

    @property
    def key(self) -> str:
        values = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(values.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Measured:
    """Measurement of one kind of run and one stack size.

    Attributes:
        device: name of the type of GPU.
        total_bytes: memory of the GPU.
        outside_bytes: memory that a process uses outside torch's allocator (CUDA context and libraries).
        stack: number of runs trained as one model.
        peak_bytes: peak memory reserved by the allocator.
        step_s: time of one training step of the whole stack.
    """

    device: str
    total_bytes: int
    outside_bytes: int
    stack: int
    peak_bytes: int
    step_s: float

    def trials_at_once(self, data_bytes: int) -> int:
        """Number of such trials that fit on one GPU, each with `data_bytes` of data; 0 where not even one fits."""
        each = HEADROOM * (self.peak_bytes + data_bytes) + self.outside_bytes
        return int(self.total_bytes / each)


def slug(device: str) -> str:
    """A GPU's name as part of a file name: "NVIDIA A100-SXM4-40GB" becomes nvidia-a100-sxm4-40gb."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def gpu_type(share: Share) -> str:
    """Name of the type of this process's GPU."""
    return torch.cuda.get_device_name(share.occupy())


def measure(kind: MemoryKind, stacks: Sequence[int], share: Share) -> list[Measured]:
    """Probe increasing stack sizes on this process's GPU, while they fit and each is worth its memory."""
    device, found = share.occupy(), list[Measured]()
    for stack in stacks:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        try:
            step_s = probe(
                kind.config, kind.training, kind.num_classes, device, stack, kind.frozen, STEPS, share.captured
            )
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            break
        peak = torch.cuda.max_memory_reserved(device)
        free, total = torch.cuda.mem_get_info(device)
        outside = max(0, total - free - torch.cuda.memory_reserved(device))
        found.append(Measured(torch.cuda.get_device_name(device), total, outside, stack, peak, step_s))
        if len(found) > 1 and found[-2].step_s / found[-2].stack < WORTH * step_s / stack:
            break
    return found


def shares(runs: Iterable[RunSpec], whole: Share, wanted: Resources, store: Store) -> dict[str, Share]:
    """The share of each run's trial, by `run_id`, from earlier measurements and from probes of the other kinds.

    Args:
        whole: the share of a trial that has a GPU to itself; one without a GPU is the share of all runs.
    """
    runs = list(runs)
    if not whole.gpus:
        return {run.run_id: whole for run in runs}
    kinds = {run.run_id: MemoryKind.of(run) for run in runs}
    in_cell = Counter((run.setting_id, run.init) for run in runs)
    most = {kinds[run.run_id].key: 1 for run in runs}
    for run in runs:
        key = kinds[run.run_id].key
        most[key] = max(most[key], in_cell[run.setting_id, run.init])
    stacks = {key: _stacks(number, wanted) for key, number in most.items()}
    known = _known({kind.key: kind for kind in kinds.values()}, stacks, whole, store)
    return {run.run_id: _share(run, known.get(kinds[run.run_id].key, []), whole, wanted) for run in runs}


def _stacks(most: int, wanted: Resources) -> list[int]:
    """The stack sizes to probe, where a cell has `most` runs to do."""
    if wanted.stack != AUTO:
        return [int(wanted.stack)]
    return [1 << power for power in range(min(most, LARGEST_STACK).bit_length())]


def _known(
    kinds: Mapping[str, MemoryKind], stacks: Mapping[str, Sequence[int]], whole: Share, store: Store
) -> dict[str, list[Measured]]:
    """Measurements of these kinds, by key: read from the store, or probed now. A kind whose probe fails is left out.

    On a cluster with several types of GPU, one of any type is probed; where a share is too small on another type, the
    trial is retried with a larger one.
    """

    def task(function: Callable[..., Any]) -> Any:
        return ray.remote(function).options(num_cpus=whole.cpus, num_gpus=1, max_retries=3)

    try:
        with waiting_for(f"{whole.words()} to be free on one node, to measure what runs need", ENDING):
            here = slug(ray.get(task(gpu_type).remote(whole))) + ("-captured" if whole.captured else "")
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, NoDeviceError):
            raise InputError(str(cause)) from None
        return {}
    known = remembered(store, here)
    probes = {key: task(measure).remote(kind, stacks[key], whole) for key, kind in kinds.items() if key not in known}
    for key, answer in probes.items():
        try:
            with waiting_for("a free GPU, or a measurement of the GPU memory that runs need", ENDING):
                known[key] = ray.get(answer)
        except ray.exceptions.RayError:
            continue  # such trials get a GPU each, and report the error themselves
        remember(store, key, here, known[key])
    return known


def remember(store: Store, kind: str, device: str, found: Sequence[Measured]) -> None:
    """Store the measurements of a kind (its key) on a type of GPU (its slug, which includes how steps are executed)."""
    store.write(f"memory/{kind}-{device}.json", json.dumps([dataclasses.asdict(one) for one in found]).encode())


def remembered(store: Store, device: str = "") -> dict[str, list[Measured]]:
    """Earlier measurements by the key of their kind: those on one type of GPU (its slug), or on all types."""
    found: dict[str, list[Measured]] = {}
    for name in store.names("memory"):
        kind, _, on = name.removesuffix(".json").partition("-")
        if on == device or not device:
            try:
                found[kind] = [Measured(**one) for one in store.read_json(f"memory/{name}")]
            except TypeError:
                continue  # a damaged file: the kind is measured again
    return found


def _share(run: RunSpec, measured: Sequence[Measured], whole: Share, wanted: Resources) -> Share:
    """The share with the shortest time per run among those that fit; a whole GPU where nothing is known."""
    facts = run.facts
    examples = facts.train_examples + facts.validation_examples + facts.test_examples
    data_bytes = examples * ((run.training.max_length or 0) + 16)  # 1 byte per token, 8 each for length and label
    fitting = [one for one in measured if one.trials_at_once(data_bytes)]
    if not fitting:
        return whole
    best = min(fitting, key=lambda one: one.step_s / one.stack)
    trials = min(wanted.runs_per_gpu, best.trials_at_once(data_bytes))
    return dataclasses.replace(whole.one_of(trials), stack=best.stack)
