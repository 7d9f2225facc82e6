"""How long a sweep takes on a number of places, from the time of each trial: the order of `execution.py`, simulated.

Pretrainings come first, that of the largest model at the head, and beside them the trials that need none; when all
have ended, the trials that start from pretrained weights. In each part the next task takes the first free place. The
overheads were measured by `benchmarks/sweep_overhead.py` on two cores of an AMD EPYC (Zen 5; up to twice as much on an
older one).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

#: Seconds from the command to the first step of a worker, and from the end of the last run to that of the command.
START_S, END_S = 9.0, 3.0
#: Seconds of a place for each run besides training: data to the device, rows to the store, Tune's next trial.
RUN_S = 0.05
#: Seconds until a place has its worker process, whose first run also reads the data.
WORKER_S = 3.0
#: Seconds of the leakage audit for each letter of a data set.
AUDIT_S_A_LETTER = 2e-7


def sweep_seconds(
    pretrainings: Sequence[float], ready: Sequence[float], waiting: Sequence[float], places: int, audited_letters: float
) -> float:
    """Seconds of a whole sweep, by the clock.

    Args:
        pretrainings: seconds of each, in the order in which they are started.
        ready: seconds of each trial that needs no pretraining, in order.
        waiting: seconds of each trial that needs one.
        places: number of trials at once.
        audited_letters: letters of the data sets that have not been audited.
    """
    first = makespan(pretrainings, ready, places)
    second = makespan((), waiting, places) if waiting else 0.0
    return START_S + audited_letters * AUDIT_S_A_LETTER + first + second + END_S


def makespan(tasks: Sequence[float], trials: Sequence[float], places: int) -> float:
    """Seconds until all have ended; each takes the first free place, tasks before trials."""
    free = [(0.0, place) for place in range(places)]
    for seconds in tasks:
        at, place = heapq.heappop(free)
        heapq.heappush(free, (at + seconds, place))
    started = set[int]()
    for seconds in trials:
        at, place = heapq.heappop(free)
        heapq.heappush(free, (at + seconds + (0 if place in started else WORKER_S), place))
        started.add(place)
    return max(at for at, _ in free)
