"""How long a sweep takes on so many places, from how long each of its trials takes: `run.py`'s order, simulated.

First come pretrainings, the largest model's first, and beside them the trials that need none of these; when all of
those have ended, the trials that start from what was pretrained. Within each part whatever comes next takes the place
that is free first. What a sweep takes besides was measured by `benchmarks/sweep_overhead.py` on two cores of an AMD
EPYC (Zen 5; up to twice as much on an older one).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

#: Seconds from the command to the first worker's first step, and from the last one's end to the command's.
START_S, END_S = 9.0, 3.0
#: Seconds of a place for each run: its data on the device, its rows, and Tune's next trial.
RUN_S = 0.05
#: Seconds until a place has a worker process of Tune's, whose first run also reads the data.
WORKER_S = 3.0
#: Seconds of the leakage audit for each letter of a data set.
AUDIT_S_A_LETTER = 2e-7


def sweep_seconds(
    pretrainings: Sequence[float], ready: Sequence[float], waiting: Sequence[float], places: int, audited_letters: float
) -> float:
    """Seconds by the clock of a whole call.

    Args:
        pretrainings: seconds of each, in the order in which they are started.
        ready: seconds of each trial that needs none of these, in order.
        waiting: seconds of each that does.
        places: trials at once.
        audited_letters: letters of the data sets that are not audited yet.
    """
    first = makespan(pretrainings, ready, places)
    second = makespan((), waiting, places) if waiting else 0.0
    return START_S + audited_letters * AUDIT_S_A_LETTER + first + second + END_S


def makespan(tasks: Sequence[float], trials: Sequence[float], places: int) -> float:
    """Seconds until all have ended; each takes the place that is free first, tasks before trials."""
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
