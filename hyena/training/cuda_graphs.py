"""Training steps as CUDA graphs: the host launches one graph per step instead of several hundred kernels.

A graph works on fixed memory: each batch is copied into it, and the next step overwrites its results. Used only on
request, and only on CUDA. Next: `loop.py`, which uses these steps in place of those of `optimisation.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from hyena.data.batches import Batch
from hyena.randomness import Dropout
from hyena.training.optimisation import Step, optimisation_step
from hyena.training.recipe import TrainingConfig

#: Eager steps of a shape before its capture: libraries select kernels in them, and the optimiser creates its state.
EAGER_STEPS = 3


def recomputes_activations(model: nn.Module) -> bool:
    """Whether a classifier or a stack checkpoints activations."""
    return any(getattr(module, "checkpoint_activations", False) for module in model.modules())


def stepper(
    model: nn.Module, optimizer: torch.optim.Optimizer, config: TrainingConfig, dropout: Dropout, captured: bool
) -> Callable[[Batch, float], Step]:
    """`optimisation_step` for one model, as a function of batch and learning rate; with `captured`, as CUDA graphs.

    Steps that recompute activations are never captured, because they read and set their random streams midway.
    """
    if captured and not recomputes_activations(model):
        return CapturedSteps(model, optimizer, config, dropout)
    return lambda batch, rate: optimisation_step(model, optimizer, batch, rate, config, dropout)


@dataclass
class _Shape:
    """For batches of one shape: the fixed batch, eager steps so far, the graph, and the fixed results of its step."""

    batch: Batch
    eager: int = 0
    graph: torch.cuda.CUDAGraph | None = None
    results: Step | None = None


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One per process, because libraries keep a workspace for each stream that they have seen."""
    return torch.cuda.Stream(device)


class CapturedSteps:
    """`optimisation_step` for one model and its optimiser, captured once per shape of batch.

    The first steps of a shape run eagerly, and are training steps as well: every call is one, as it is without graphs.
    The parameters, the optimiser's state and the streams must stay where they are in memory; code that replaces them,
    such as a resumed run, must create new captured steps.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, config: TrainingConfig, dropout: Dropout
    ) -> None:
        device = next(model.parameters()).device
        if device.type != "cuda":
            raise ValueError(f"steps can be captured only on CUDA, not on {device.type}")
        self.model, self.optimizer, self.config, self.dropout = model, optimizer, config, dropout
        self.rate = torch.zeros((), device=device)  # a Python number would be fixed in the graph
        self.pool = torch.cuda.graph_pool_handle()
        self.side = _side_stream(device)
        self.shapes: dict[torch.Size, _Shape] = {}

    def __call__(self, batch: Batch, rate: float) -> Step:
        """One step; its results are valid until the next step."""
        self.rate.fill_(rate)
        shape = self.shapes.setdefault(batch.tokens.shape, _Shape(Batch(*map(torch.empty_like, batch))))
        for fixed, values in zip(shape.batch, batch, strict=True):
            fixed.copy_(values)
        if shape.graph is None and shape.eager >= EAGER_STEPS:
            self._capture(shape)
        if shape.graph is None:
            shape.eager += 1
            return self._eager(shape.batch)
        shape.graph.replay()
        assert shape.results is not None
        return shape.results

    def _eager(self, batch: Batch) -> Step:
        """On a side stream, as PyTorch requires of steps before a capture."""
        current = torch.cuda.current_stream()
        self.side.wait_stream(current)
        with torch.cuda.stream(self.side):
            results = self._step(batch)
        current.wait_stream(self.side)
        return results

    def _capture(self, shape: _Shape) -> None:
        """Record a step without running it.

        The optimiser is marked as capturable during the recording only, because the mark is part of its saved state.
        """
        graph = torch.cuda.CUDAGraph()
        for generator in self.dropout if isinstance(self.dropout, Sequence) else (self.dropout,):
            graph.register_generator_state(generator)
        self._mark_capturable(True)
        try:
            with torch.cuda.graph(graph, pool=self.pool, stream=self.side):
                shape.results = self._step(shape.batch)
        finally:
            self._mark_capturable(False)
        shape.graph = graph

    def _mark_capturable(self, capturable: bool) -> None:
        for group in self.optimizer.param_groups:
            group["capturable"] = capturable

    def _step(self, batch: Batch) -> Step:
        return optimisation_step(self.model, self.optimizer, batch, self.rate, self.config, self.dropout)
