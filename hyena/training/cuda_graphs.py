"""Training steps as CUDA graphs: the host starts one graph a step, where it would start some hundreds of kernels.

A graph replays fixed memory: a batch is copied into it, and what it found is overwritten by the next step. Used only
where asked for, and only on CUDA. Next: `loop.py`, which takes these steps for those of `optimisation.py`.
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

#: Steps of a shape before it is captured: libraries choose their kernels in the first, the optimiser makes its state.
EAGER_STEPS = 3


def recomputes_activations(model: nn.Module) -> bool:
    """Of a classifier or a stack of them."""
    return any(getattr(module, "checkpoint_activations", False) for module in model.modules())


def stepper(
    model: nn.Module, optimizer: torch.optim.Optimizer, config: TrainingConfig, dropout: Dropout, captured: bool
) -> Callable[[Batch, float], Step]:
    """`optimisation_step` for one model, as a function of batch and learning rate; captured where asked for.

    Steps that compute activations again are not captured: they read and set their random streams midway.
    """
    if captured and not recomputes_activations(model):
        return CapturedSteps(model, optimizer, config, dropout)
    return lambda batch, rate: optimisation_step(model, optimizer, batch, rate, config, dropout)


@dataclass
class _Shape:
    """What there is for batches of one shape: the fixed batch, eager steps so far, the graph and where it leaves."""

    batch: Batch
    eager: int = 0
    graph: torch.cuda.CUDAGraph | None = None
    found: Step | None = None


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for the process: libraries keep work space for each stream that they have seen."""
    return torch.cuda.Stream(device)


class CapturedSteps:
    """`optimisation_step` for one model and its optimiser, captured once per shape of batch.

    The first steps of a shape run eagerly, and count: every call is a step of the training, the same as without
    graphs. The parameters, the optimiser's state and the streams must stay where they are in memory; whoever replaces
    them (a resumed run) makes new captured steps.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, config: TrainingConfig, dropout: Dropout
    ) -> None:
        device = next(model.parameters()).device
        if device.type != "cuda":
            raise ValueError(f"steps can be captured on CUDA alone, not on {device.type}")
        self.model, self.optimizer, self.config, self.dropout = model, optimizer, config, dropout
        self.rate = torch.zeros((), device=device)  # a number would be frozen into the graph
        self.pool = torch.cuda.graph_pool_handle()
        self.side = _side_stream(device)
        self.shapes: dict[torch.Size, _Shape] = {}

    def __call__(self, batch: Batch, rate: float) -> Step:
        """One step; what it returns is valid until the next."""
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
        assert shape.found is not None
        return shape.found

    def _eager(self, batch: Batch) -> Step:
        """On a side stream, as PyTorch asks of steps that precede a capture."""
        current = torch.cuda.current_stream()
        self.side.wait_stream(current)
        with torch.cuda.stream(self.side):
            found = self._step(batch)
        current.wait_stream(self.side)
        return found

    def _capture(self, shape: _Shape) -> None:
        """Record a step without running it.

        The optimiser says so for as long alone, because what it says is part of its saved state.
        """
        graph = torch.cuda.CUDAGraph()
        for generator in self.dropout if isinstance(self.dropout, Sequence) else (self.dropout,):
            graph.register_generator_state(generator)
        self._say_capturable(True)
        try:
            with torch.cuda.graph(graph, pool=self.pool, stream=self.side):
                shape.found = self._step(shape.batch)
        finally:
            self._say_capturable(False)
        shape.graph = graph

    def _say_capturable(self, capturable: bool) -> None:
        for group in self.optimizer.param_groups:
            group["capturable"] = capturable

    def _step(self, batch: Batch) -> Step:
        return optimisation_step(self.model, self.optimizer, batch, self.rate, self.config, self.dropout)
