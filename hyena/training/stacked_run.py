"""Runs of one cell that differ only in their seeds and initial weights, trained in step as one stack.

Each seed has its own initial weights, data order, augmentation, dropout, gradient clipping and optimiser state, so that
it ends where it would have ended alone, within rounding. Next: `model/stacked.py`, the stack.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch

from hyena.model.hyenadna import Classifier
from hyena.model.stacked import StackedClassifier
from hyena.training.loop import PreparedData, RunResult, Training
from hyena.training.optimisation import restore, snapshot
from hyena.training.recipe import TrainingConfig
from hyena.training.seed_state import EpochRecord, Progress, TrainingError, position

#: AdamW's state for each value of a parameter; its `step` is the same for all seeds.
MOMENTS = ("exp_avg", "exp_avg_sq")


class StackedRun(Training):
    """Runs of one cell that differ only in their seeds, in step. A single one is trained exactly as a `Run`.

    If a seed's loss is not a number, that seed fails; the others continue without it.
    """

    def __init__(
        self,
        models: Sequence[Classifier],
        data: PreparedData,
        config: TrainingConfig,
        seeds: Sequence[int],
        captured: bool = False,
        salt: str = "",
    ) -> None:
        """`models`: one per seed, already initialised, on the device of `data`; their parameters are copied."""
        if not models or len(models) != len(seeds):
            raise ValueError(f"{len(models)} models for {len(seeds)} seeds: pass one model per seed")
        model = StackedClassifier(models) if len(models) > 1 else models[0]
        super().__init__(model, data, config, seeds, captured, salt)

    def advance(self) -> list[EpochRecord | TrainingError]:
        """Train one epoch, then evaluate: each seed's record, or why it failed, now or before."""
        self.train_and_evaluate()
        return [seed.error or seed.history[-1] for seed in self.progress]

    def results(self) -> list[RunResult | TrainingError]:
        """Each seed's final scores, or why it failed."""
        return [seed.error or self.result_of(seed) for seed in self.progress]

    def classifiers(self) -> Iterator[Classifier | TrainingError]:
        """Each seed's model as it is now, or why it failed."""
        places = iter(range(len(self.running)))
        for seed in self.progress:
            if seed.error is None and isinstance(self.model, StackedClassifier):
                yield self.model.classifier(next(places))
            else:
                yield seed.error or cast(Classifier, self.model)

    def state(self) -> list[dict[str, Any]]:
        """For each seed what its `Run` would save, so that it can continue in any stack or alone; or why it failed."""
        whole = snapshot(self.model, self.optimizer, {})
        places = iter(range(len(self.running)))
        return [self._state_of(seed, whole, places) for seed in self.progress]

    def _state_of(self, seed: Progress, whole: dict[str, Any], places: Iterator[int]) -> dict[str, Any]:
        if seed.error is not None:
            return {"failure": str(seed.error)}
        place = next(places)
        own = _seed_of(whole, place) if self.stacked else whole
        return {**own, **self.state_of(seed, place)}

    def resume(self, states: Sequence[dict[str, Any]]) -> None:
        """Continue from what `state()`, or `Run.state()` of each seed, returned; all seeds must be at the same step."""
        remaining = [place for place, state in enumerate(states) if "failure" not in state]
        if len({position(states[place]) for place in remaining}) > 1:
            raise ValueError("seeds of one stack must have been trained for equally many steps")
        for seed, state in zip(self.progress, states, strict=True):
            seed.error = TrainingError(state["failure"]) if "failure" in state else None
        self._keep(remaining)
        for place in remaining:
            self.progress[place].resume(states[place])
        if remaining:
            own = [states[place] for place in remaining]
            restore(_joined(own) if self.stacked else own[0], self.model, self.optimizer, {})
            self.resume_epoch(own)

    @torch.no_grad()
    def _keep(self, places: list[int]) -> None:
        super()._keep(places)
        if not self.stacked or not places:
            return
        index = torch.tensor(places, device=self.device)
        for parameter in self.model.parameters():
            parameter.grad = None
            parameter.data = parameter[index]
        for moments in self.optimizer.state.values():
            for name in MOMENTS:
                moments[name] = moments[name][index]


def _seed_of(whole: dict[str, Any], place: int) -> dict[str, Any]:
    """A copy of one seed's part of a stack's snapshot."""
    moments = {
        number: {name: value[place].clone() if name in MOMENTS else value.clone() for name, value in state.items()}
        for number, state in whole["optimizer"]["state"].items()
    }
    return {
        "model": {name: parameter[place].clone() for name, parameter in whole["model"].items()},
        "optimizer": {**whole["optimizer"], "state": moments},
    }


def _joined(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A stack's snapshot, from those of its seeds."""
    optimizer = states[0]["optimizer"]
    moments = {
        number: {
            name: torch.stack([s["optimizer"]["state"][number][name] for s in states]) if name in MOMENTS else value
            for name, value in state.items()
        }
        for number, state in optimizer["state"].items()
    }
    return {
        "model": {name: torch.stack([s["model"][name] for s in states]) for name in states[0]["model"]},
        "optimizer": {**optimizer, "state": moments},
    }
