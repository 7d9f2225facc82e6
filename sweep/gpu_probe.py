"""How much GPU memory a trial needs, and how many runs to train as one model: measured, and remembered.

A probe takes some training steps and evaluation batches of the real model on random tokens, alone on a GPU, with one
run, two, four … as one model. The fastest number per run that fits is taken; its peak, with headroom, says how many
such trials a GPU of that type holds at once. Records are kept in the results folder, so each kind of run is probed
once a study and type of GPU. Next: `resources.py`, what a trial is given.
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

#: Over the probe's peak: fragmentation, and the odd buffer of a library that a probe does not meet.
HEADROOM = 1.15
#: Most runs that are tried as one model, and by how much a larger number must be faster per run to be worth it.
LARGEST_STACK, WORTH = 32, 1.05
#: Training steps of a probe, enough for some that are replayed where steps are captured.
STEPS = 6


@dataclass(frozen=True)
class Kind:
    """All of a run that its memory depends on, but the data set, which is simply so many bytes."""

    config: HyenaConfig
    training: TrainingConfig
    num_classes: int
    frozen: bool

    @classmethod
    def of(cls, run: RunSpec) -> Kind:
        values = {name: getattr(run.training, name) for name in values_affecting("memory")}
        return cls(run.config, TrainingConfig(epochs=1, **values), run.facts.num_classes, run.init == "frozen")

    @property
    def key(self) -> str:
        values = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(values.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Measured:
    """What a probe found for so many runs as one model.

    Attributes:
        device: name of the type of GPU.
        total_bytes: its memory.
        outside_bytes: what a process holds of it besides the allocator's (the CUDA context and libraries).
        stack: runs as one model.
        peak_bytes: peak that the allocator had reserved.
        step_s: time of a training step of them all.
    """

    device: str
    total_bytes: int
    outside_bytes: int
    stack: int
    peak_bytes: int
    step_s: float

    def trials_at_once(self, data_bytes: int) -> int:
        """Trials of this kind that one such GPU holds, each with so much data on it; 0 where not even one fits."""
        each = HEADROOM * (self.peak_bytes + data_bytes) + self.outside_bytes
        return int(self.total_bytes / each)


def slug(device: str) -> str:
    """A GPU's name as part of a file's: "NVIDIA A100-SXM4-40GB" is nvidia-a100-sxm4-40gb."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def gpu_type(share: Share) -> str:
    """Name of the type of this process's GPU."""
    return torch.cuda.get_device_name(share.occupy())


def measure(kind: Kind, stacks: Sequence[int], share: Share) -> list[Measured]:
    """Probe on this process's GPU, one stack after another while they fit and the larger one is worth it."""
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
    """The share of each run's trial, by `run_id`, from what is remembered and from probes of what is not.

    Args:
        whole: the share of a trial that has a GPU to itself; one without a GPU is everybody's.
    """
    runs = list(runs)
    if not whole.gpus:
        return {run.run_id: whole for run in runs}
    kinds = {run.run_id: Kind.of(run) for run in runs}
    in_cell = Counter((run.setting_id, run.init) for run in runs)
    most = {kinds[run.run_id].key: 1 for run in runs}
    for run in runs:
        key = kinds[run.run_id].key
        most[key] = max(most[key], in_cell[run.setting_id, run.init])
    stacks = {key: _stacks(number, wanted) for key, number in most.items()}
    known = _known({kind.key: kind for kind in kinds.values()}, stacks, whole, store)
    return {run.run_id: _share(run, known.get(kinds[run.run_id].key, []), whole, wanted) for run in runs}


def _stacks(most: int, wanted: Resources) -> list[int]:
    """The numbers of runs that are tried as one model, where a cell has `most` to do."""
    if wanted.stack != AUTO:
        return [int(wanted.stack)]
    return [1 << power for power in range(min(most, LARGEST_STACK).bit_length())]


def _known(
    kinds: Mapping[str, Kind], stacks: Mapping[str, Sequence[int]], whole: Share, store: Store
) -> dict[str, list[Measured]]:
    """What the GPUs at hand need for these kinds, by key: remembered, or probed now. One whose probe fails is left out.

    A cluster of several types of GPU is measured on whichever answers: where that is too little for another, the trial
    comes again with more.
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
            with waiting_for("a measurement of what runs need of a GPU's memory, or a GPU for it", ENDING):
                known[key] = ray.get(answer)
        except ray.exceptions.RayError:
            continue  # such trials get a GPU each, and will say themselves what is wrong with them
        remember(store, key, here, known[key])
    return known


def remember(store: Store, kind: str, device: str, found: Sequence[Measured]) -> None:
    """Keep what a probe found for a kind (by its key) on a type of GPU (by its slug), as steps are taken there."""
    store.write(f"memory/{kind}-{device}.json", json.dumps([dataclasses.asdict(one) for one in found]).encode())


def remembered(store: Store, device: str = "") -> dict[str, list[Measured]]:
    """What earlier probes found on this type of GPU (its slug; on any), by the key of their kind."""
    found: dict[str, list[Measured]] = {}
    for name in store.names("memory"):
        kind, _, on = name.removesuffix(".json").partition("-")
        if on == device or not device:
            try:
                found[kind] = [Measured(**one) for one in store.read_json(f"memory/{name}")]
            except TypeError:
                continue  # damaged: it is measured anew
    return found


def _share(run: RunSpec, measured: Sequence[Measured], whole: Share, wanted: Resources) -> Share:
    """What is fastest per run of what fits; a whole GPU where nothing is known."""
    facts = run.facts
    examples = facts.train_examples + facts.validation_examples + facts.test_examples
    data_bytes = examples * ((run.training.max_length or 0) + 16)  # a token is a byte, a length and a label are 8
    fitting = [one for one in measured if one.trials_at_once(data_bytes)]
    if not fitting:
        return whole
    best = min(fitting, key=lambda one: one.step_s / one.stack)
    trials = min(wanted.runs_per_gpu, best.trials_at_once(data_bytes))
    return dataclasses.replace(whole.one_of(trials), stack=best.stack)
