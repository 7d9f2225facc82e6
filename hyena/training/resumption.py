"""Checkpoints of a training: writing and reading them, and checking that one is intact and belongs to this training.

`optimisation.py` takes the snapshots and restores them. Next: `pretraining.py`, which resumes from one.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hyena.errors import InputError, first_line

#: Keys of an optimiser's parameter group that its steps need.
GROUP_VALUES = {"params", "lr", "betas", "eps", "weight_decay"}


def checkpoint_bytes(state: Any) -> bytes:
    """The content of a checkpoint file, built in memory: so a full disk raises OSError only when it is written."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def read_checkpoint(content: bytes, device: torch.device | str = "cpu") -> Any:
    """The state passed to `checkpoint_bytes`, with its tensors on `device`. No code in the file is run.

    Raises InputError with a few words on what is wrong with the content; the caller names the file.
    """
    if not content:
        raise InputError("it is empty")
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise InputError("it is damaged, or was not written by this program")
    try:
        return torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except Exception as error:  # torch raises many types for damaged files: RuntimeError, KeyError, UnpicklingError, …
        raise InputError(f"it is damaged, or was not written by this program ({first_line(error):.80})") from None


def misfit_of(
    state: Any, model: nn.Module, optimizer: torch.optim.Optimizer, streams: Mapping[str, torch.Generator]
) -> str | None:
    """Why a snapshot (of `optimisation.snapshot`) cannot be restored into these, or None. Changes nothing."""
    parts = ("model", "optimizer", "streams")
    if not isinstance(state, dict) or not all(isinstance(state.get(part), dict) for part in parts):
        return "it holds no parameters, optimiser and random streams"
    parameters = dict(model.named_parameters())
    if set(state["model"]) != set(parameters):
        return "its parameters are those of another model"
    for name, parameter in parameters.items():
        if fault := _tensor_fault(state["model"][name], parameter):
            return f"its {name} {fault}"
    if set(state["streams"]) != set(streams) or not all(map(_is_stream, state["streams"].values())):
        return "its random streams are others"
    return _optimizer_fault(state["optimizer"], optimizer)


def _optimizer_fault(saved: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> str | None:
    groups, moments = saved.get("param_groups"), saved.get("state")
    if not isinstance(groups, list) or not isinstance(moments, dict):
        return "it holds no optimiser"
    if not all(isinstance(group, dict) and group.keys() >= GROUP_VALUES for group in groups):
        return "its optimiser has other values"
    if [len(group["params"]) for group in groups] != [len(group["params"]) for group in optimizer.param_groups]:
        return "its optimiser is of another model"
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, values in moments.items():
        if not isinstance(index, int) or not 0 <= index < len(parameters) or not isinstance(values, dict):
            return "its optimiser is of another model"
        for name in ("exp_avg", "exp_avg_sq"):
            if fault := _tensor_fault(values.get(name), parameters[index]):
                return f"its optimiser's {name} {fault}"
    return None


def _tensor_fault(tensor: Any, wanted: Tensor) -> str | None:
    if not isinstance(tensor, Tensor) or tensor.shape != wanted.shape:
        return f"is no tensor of shape {tuple(wanted.shape)}"
    return None if tensor.isfinite().all() else "holds values that are not finite"


def _is_stream(state: Any) -> bool:
    return isinstance(state, Tensor) and state.dtype == torch.uint8 and state.dim() == 1
