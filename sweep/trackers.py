"""Experiment trackers that can follow the epochs of a sweep: TensorBoard files, Weights & Biases, MLflow.

None is needed: the results hold more than a tracker receives. They are Tune callbacks, called in the driver only.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ray import tune
from tensorboardX import SummaryWriter

from hyena.errors import InputError
from hyena.system.waiting import waiting_for
from sweep.store import Store
from sweep.study import Study

#: What `--track` takes, and the package that each needs.
TRACKERS = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}


def trackers(names: Collection[str], study: Study, store: Store) -> list[tune.Callback]:
    """The callbacks of these trackers. InputError where a package is missing, or an address or key was rejected."""
    for name in names:
        if find_spec(TRACKERS[name]) is None:
            raise InputError(f"--track {name}: the package {TRACKERS[name]} is missing: pip install {TRACKERS[name]}")
    callbacks = {name: _tracker(name, study, store) for name in names}
    for name, callback in callbacks.items():
        try:
            with waiting_for(f"--track {name}: its server"):
                callback.setup()
        except Exception as error:  # of any kind: each tracker raises its own
            reason = " ".join((str(error).strip() or type(error).__name__).split())
            raise InputError(f"--track {name}: {reason[:300]}") from None
    return list(callbacks.values())


def _tracker(name: str, study: Study, store: Store) -> tune.Callback:
    """Ray's own callbacks, which read address and key from the environment variables that each tracker documents."""
    if name == "wandb":
        from ray.air.integrations.wandb import WandbLoggerCallback

        return WandbLoggerCallback(project=study.name, dir=os.environ.get("WANDB_DIR", str(Path.cwd())))
    if name == "mlflow":
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        return MLflowLoggerCallback(os.environ.get("MLFLOW_TRACKING_URI"), experiment_name=study.name)
    return TensorBoard(Path(store.root if store.local else f"results/{study.name}") / "tensorboard")


class TensorBoard(tune.Callback):
    """Writes one folder of event files for each trial, named after its runs. A resumed trial adds to its folder.

    Runs that are trained as one model share a folder, which holds their means.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writers: dict[str, SummaryWriter] = {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        run_id, step = trial.config["trial"]["run_ids"][0], result.get("epoch")
        if step is not None:
            writer = self.writers.get(run_id) or self._open(trial.config["trial"])
            for name in ("train_loss", "validation_accuracy", "test_accuracy"):
                if result.get(name) is not None:
                    writer.add_scalar(name, result[name], step)
        if result["done"] and run_id in self.writers:
            self.writers.pop(run_id).close()

    def _open(self, config: dict[str, Any]) -> SummaryWriter:
        run_id = config["run_ids"][0]
        words = [config[name] for name in ("dataset", "model", "init", "epochs", "seeds")]
        self.writers[run_id] = SummaryWriter(str(self.folder / "-".join(map(str, [*words, run_id[:6]]))))
        return self.writers[run_id]

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks into a state from which no sweep resumes."""
        return {}
