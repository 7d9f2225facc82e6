"""Random streams: one generator per use, all from one seed, none of them global.

A stream's draws depend on its seed, its name and its salt only. So loading weights never shifts the data order, and two
arms with the same seed have the same head, batches, augmentation and dropout. The salt keeps apart what is numbered by
the same seeds but must be independent: a sweep salts the streams of a run with the id of its setting, which the arms of
a pair share and no two cells of a data set, size, number of epochs and hyperparameters do; and those of a pretraining
with the model's name. Data are never salted: they are the same for all cells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch

#: The source of dropout masks: one stream, or one for each seed of a stack.
Dropout = torch.Generator | Sequence[torch.Generator]

#: The names of streams, and what draws from each. A name is hashed into the stream's seed: renaming it changes numbers.
STREAMS = {
    "backbone": "initial weights of a backbone trained from scratch",
    "shuffle": "permutation of each pretrained tensor in the shuffled arm",
    "head": "initial weights of the head",
    "order": "order of the training examples, each epoch",
    "turn": "order of the batches of like length: seeded by the epoch's number, the same for all seeds of a setting",
    "augmentation": "which training sequences are reverse-complemented",
    "dropout": "dropout masks",
    "corpus": "which windows of a genome pretraining sees",
    "genome": "the synthetic genome",
    "tasks": "labelled sequences of the synthetic tasks",
}


def stream(seed: int, name: str, device: torch.device | str = "cpu", salt: str = "") -> torch.Generator:
    """A generator seeded by SHA-256 of (salt, seed, name). Streams of neighbouring seeds are unrelated.

    >>> one, same, other = (stream(1, "order", salt=salt).initial_seed() for salt in ("a", "a", "b"))
    >>> one == same, one == other
    (True, False)
    """
    if name not in STREAMS:
        raise KeyError(f"no random stream '{name}'; known: {', '.join(STREAMS)}")
    key = f"{salt}/{seed}/{name}" if salt else f"{seed}/{name}"
    digest = hashlib.sha256(key.encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little", signed=True))


def put_state(generator: torch.Generator, state: torch.Tensor) -> None:
    """Continue a stream from what `get_state()` returned, on the same kind of device or on another.

    Generators of a CPU and of a GPU draw differently, and neither accepts the other's state. A stream that moves to the
    other kind of device is seeded from the state instead, so that its draws still depend on nothing else.
    """
    state = state.cpu()
    if state.shape == generator.get_state().shape:
        generator.set_state(state)
    else:
        digest = hashlib.sha256(state.numpy().tobytes()).digest()
        generator.manual_seed(int.from_bytes(digest[:8], "little", signed=True))


def numpy_stream(seed: int, name: str) -> np.random.Generator:
    """A NumPy generator whose draws, too, depend on (seed, name) only."""
    return np.random.default_rng(int(torch.randint(2**62, (), generator=stream(seed, name))))
