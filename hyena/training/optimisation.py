"""One step of training, and a forward pass over a split: for one model, or for a stack with a seed axis.

The optimiser is the original study's. In a stack, parameters, batches and logits have a leading axis S, and each seed
has its own loss; nothing here mixes seeds. Next: `loop.py`, the loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyena.data.batches import Batch, batch_widths
from hyena.randomness import Dropout, put_state
from hyena.training.recipe import Precision, TrainingConfig

#: Parameters whose name contains one of these belong to the implicit filter and have no weight decay.
FILTER_PARAMETERS = ("filter_fn", "pos_emb", "modulation")


class Step(NamedTuple):
    """The results of one optimisation step, as tensors on the device.

    Mean loss [] or [S], logits [B, C] or [S, B, C], gradient norm before clipping [] or [S].
    """

    loss: Tensor
    logits: Tensor
    gradient_norm: Tensor


def optimizer_for(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW in the two published groups: no decay on the implicit filter, decay on all else (norms and biases, too)."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    decayed = [p for name, p in named if not any(part in name for part in FILTER_PARAMETERS)]
    filters = [p for name, p in named if any(part in name for part in FILTER_PARAMETERS)]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": filters, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=True)


def update(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, rate: float | Tensor, clip: float
) -> Tensor:
    """Back-propagate `loss`, clip, step at `rate`; returns the gradient norm before clipping.

    With a loss [S], every parameter has a leading seed axis: each seed's gradients are clipped by their own norm, and
    the norms are returned as [S].
    """
    optimizer.zero_grad(set_to_none=True)
    loss.sum().backward()
    if loss.dim() == 0:
        norm = nn.utils.clip_grad_norm_(model.parameters(), clip)
    else:
        norm = _clip_each_seed(model.parameters(), clip)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return norm


def _clip_each_seed(parameters: Iterable[nn.Parameter], clip: float) -> Tensor:
    """`clip_grad_norm_` for each seed separately: norms [S] over all gradients [S, …], which are scaled in place."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.linalg.vector_norm(torch.cat([g.flatten(1) for g in gradients], dim=1), dim=1)
    scale = (clip / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, [scale.view(-1, *[1] * (g.dim() - 1)) for g in gradients])
    return norm


def snapshot(
    model: nn.Module, optimizer: torch.optim.Optimizer, streams: Mapping[str, torch.Generator]
) -> dict[str, Any]:
    """Parameters, optimiser and random streams as plain containers of tensors. Buffers are not learned and left out.

    The learning rate is saved as a number, even if captured steps read it from a tensor, so that steps of any kind can
    continue.
    """
    of_optimizer = optimizer.state_dict()
    groups = [{**group, "lr": float(group["lr"])} for group in of_optimizer["param_groups"]]
    return {
        "model": {name: parameter.detach() for name, parameter in model.named_parameters()},
        "optimizer": {**of_optimizer, "param_groups": groups},
        "streams": {name: generator.get_state() for name, generator in streams.items()},
    }


@torch.no_grad()
def restore(
    state: Mapping[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer, streams: Mapping[str, torch.Generator]
) -> None:
    """Load a `snapshot`, in place."""
    for name, parameter in model.named_parameters():
        parameter.copy_(state["model"][name])
    optimizer.load_state_dict(state["optimizer"])
    for name, generator in streams.items():
        put_state(generator, state["streams"][name])


def mixed_precision(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """The context of a forward pass: with bfloat16 matrix products if `precision` says so."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def mean_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over examples: logits [..., N, C] and labels [..., N] to [...], in float32 or better."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    each = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none")
    return each.view(labels.shape).mean(dim=-1)


def optimisation_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    rate: float | Tensor,
    config: TrainingConfig,
    dropout: Dropout | None = None,
) -> Step:
    """One step on one batch, without waiting for the device."""
    with mixed_precision(batch.tokens.device, config.precision):
        logits = model(batch.tokens, batch.lengths, dropout)
    loss = mean_loss(logits, batch.labels)
    norm = update(model, optimizer, loss, rate, config.gradient_clip)
    return Step(loss.detach(), logits.detach(), norm)


@torch.inference_mode()
def predict(model: nn.Module, data: Batch, config: TrainingConfig) -> Tensor:
    """Logits [N, C] of a model, [S, N, C] of a stack, in float32, without dropout and augmentation.

    If padding does not change results, sequences are sorted by length and each batch is cut to its longest one; the
    logits are returned in the order of `data` and are equal within rounding.
    """
    longest, size = data.tokens.shape[1], config.batch_size
    order, widths = None, [longest] * -(-len(data.labels) // size)
    if config.padding_leaves_no_trace:
        lengths, order = torch.sort(data.lengths.cpu(), stable=True)
        widths = batch_widths(lengths, size, longest)
        order = order.to(data.lengths.device) if len(set(widths)) > 1 else None
    pieces = []
    with mixed_precision(data.tokens.device, config.precision):
        for number, width in enumerate(widths):
            place = slice(number * size, (number + 1) * size)
            part = data.take(place if order is None else order[place], width)
            pieces.append(model(part.tokens, part.lengths))
    logits = torch.cat(pieces, dim=-2).float()
    return logits if order is None else torch.empty_like(logits).index_copy_(-2, order, logits)
