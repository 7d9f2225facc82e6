"""The output folder of a pretraining: what it may hold before the start, and what it holds afterwards.

    pretraining.json                 size, recipe and corpus; once it is finished, the weights' digest and the curve
    unfinished.pt                    the checkpoint, until it is finished
    config.json, model.safetensors   the weights

`pretraining.json` is written before the first step and identifies the pretraining that owns the folder; once it has the
digest of the weights, the folder is complete. Files of another pretraining or another program are never replaced. Next:
`hyena/pretrain.py`, the command.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hyena.errors import InputError
from hyena.model.config import HyenaConfig
from hyena.model.hyenadna import Backbone, without_memory
from hyena.system.files import write_files
from hyena.system.paths import is_address
from hyena.training.pretraining import Pretraining, PretrainingConfig
from hyena.training.resumption import checkpoint_bytes, read_checkpoint
from hyena.weights.checkpoint import CONFIG, load_backbone, save_weights
from hyena.weights.classifiers import classifier_bytes
from hyena.weights.tensor_files import SAFETENSORS, SUFFIXES, UNFINISHED

RECORD = "pretraining.json"
#: Files that every results folder of a sweep has.
OF_A_SWEEP = ("study.json", "plan.parquet")
#: Numbers in a checkpoint per parameter: itself and two moments. During a replacement there are two checkpoints.
NUMBERS_SAVED = 3 * 2


class PretrainingFolder:
    """The folder of one pretraining; it need not exist.

    `model` is the name of a published size, which salts the random streams; None where only a shape was given.
    `corpus` is the digest of the genomes. It is None until they are read, which takes long: all other errors are found
    before that.
    """

    def __init__(self, path: Path, size: HyenaConfig, config: PretrainingConfig, model: str | None = None) -> None:
        self.path, self.size, self.config, self.model = path, size, config, model
        self.corpus: str | None = None

    def check(self) -> None:
        """Raise InputError if the weights could not be written, or would replace something else. Writes nothing."""
        self._require_place()
        if not self.path.exists():
            return
        record, checkpoint = self._record(), self._checkpoint()
        if checkpoint is not None:
            self._require_ours(json.loads(checkpoint["recipe"]), UNFINISHED)
        elif record is not None and (self.path / SAFETENSORS).exists():
            self._require_ours([record["size"], record["recipe"], record["corpus"]], RECORD)
        elif foreign := self._foreign(is_recorded=record is not None):
            raise InputError(
                f"--output {self.path}: holds {foreign}, which this command has not recorded in {RECORD}: choose "
                "another folder"
            )

    def finished(self) -> str | None:
        """Digest of the weights if this pretraining is finished already, else None; `corpus` must be set."""
        record = self._record()
        if record is None or record["weights"] is None or not (self.path / SAFETENSORS).exists():
            return None
        if record["corpus"] != self.corpus or load_backbone(Backbone(self.size), self.path) != record["weights"]:
            raise InputError(
                f"{self.path / SAFETENSORS}: not the weights that {RECORD} records: move them away, or choose another "
                "--output"
            )
        (self.path / UNFINISHED).unlink(missing_ok=True)  # left if the process was killed after writing the record
        return str(record["weights"])

    def resume(self, run: Pretraining) -> bool:
        """Resume a pretraining from the checkpoint in the folder; False if there is none."""
        checkpoint = self._checkpoint()
        if checkpoint is None:
            return False
        try:
            run.resume(checkpoint["run"])
        except InputError as fault:
            raise self._damaged(fault) from None
        return True

    def begin(self) -> None:
        """Create the folder and record which pretraining owns it."""
        self._write_record(weights=None, history=[])

    def save(self, run: Pretraining) -> None:
        """Replace the checkpoint atomically. Raises OSError."""
        content = checkpoint_bytes({"recipe": json.dumps(self._identity()), "run": run.state()})
        write_files({UNFINISHED: content}, self.path)

    def finish(self, run: Pretraining) -> str:
        """Write the weights, then record that they are complete; returns their digest."""
        digest = save_weights(run.model.backbone, self.size, self.path)
        self._write_record(digest, [dataclasses.asdict(record) for record in run.history])
        (self.path / UNFINISHED).unlink(missing_ok=True)
        return digest

    # ----------------------------------------------------------------------------------------------------------- checks

    def _require_place(self) -> None:
        """Raise InputError unless the folder exists or can be created, is writable, and has enough free space."""
        if is_address(self.path):
            raise InputError(f"--output {self.path}: is an address; name a folder on this machine")
        place = self.path
        while not place.exists() and not place.is_symlink():
            place = place.parent
        if not place.is_dir():
            kind = "a file" if place.exists() else "a link to nothing"
            what = f"is {kind}" if place == self.path else f"{place} is {kind}"
            raise InputError(f"--output {self.path}: {what}; name a folder, which is made where there is none")
        try:
            with tempfile.TemporaryFile(dir=place) as file:
                file.write(b"x")
        except OSError as error:
            raise InputError(f"--output {self.path}: {place} is not writable ({error.strerror})") from None
        free, needed = shutil.disk_usage(place).free, output_bytes(self.size)
        if free < needed:
            raise InputError(
                f"--output {self.path}: needs {needed / 1e6:,.2f} MB, {free / 1e6:,.2f} MB are free there: make room, "
                "or choose another folder"
            )

    def _foreign(self, is_recorded: bool) -> str | None:
        """The name of a file of another program that the weights would replace or be mixed with, or None."""
        names = sorted(file.name for file in self.path.iterdir())
        of_weights = [name for name in names if name == CONFIG or Path(name).suffix in SUFFIXES]
        of_others = [name for name in names if name in OF_A_SWEEP] + ([] if is_recorded else of_weights)
        return of_others[0] if of_others else None

    # --------------------------------------------------------------------------------------------------- existing files

    def _identity(self) -> list[Any]:
        """Size, recipe and corpus, as read back from JSON: everything that determines the weights."""
        size = dataclasses.replace(self.size, checkpoint_activations=False)  # may change on resumption
        named = {"model": self.model, **dataclasses.asdict(size)}
        text = json.dumps([named, dataclasses.asdict(self.config), self.corpus])
        return list(json.loads(text))

    def _require_ours(self, found: list[Any], name: str) -> None:
        ours = self._identity()
        values = [{**one[0], **one[1]} for one in (found, ours)]
        values[0].setdefault("model", self.model)  # earlier releases did not record the name, nor depend on it
        differ = [
            f"{key} = {values[0].get(key)} there, {values[1].get(key)} asked for"
            for key in values[0] | values[1]
            if values[0].get(key) != values[1].get(key)
        ]
        if not differ and self.corpus is not None and found[2] != self.corpus:
            differ = ["of other genomes"]
        if differ:
            raise InputError(
                f"{self.path / name} is of another pretraining ({'; '.join(differ[:3])}): choose another --output"
            )

    def _record(self) -> dict[str, Any] | None:
        """The content of `pretraining.json`; None if it is missing or cannot be read."""
        try:
            found = json.loads((self.path / RECORD).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        whole = isinstance(found, dict) and all(isinstance(found.get(key), dict) for key in ("size", "recipe"))
        return found if whole and {"corpus", "weights"} <= found.keys() else None

    def _checkpoint(self) -> dict[str, Any] | None:
        """`unfinished.pt`: the recipe, and the state to resume from. Raises InputError if it is damaged."""
        try:
            found = read_checkpoint((self.path / UNFINISHED).read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._damaged(f"it cannot be read, {error.strerror}") from None
        except InputError as fault:
            raise self._damaged(fault) from None
        if not isinstance(found, dict) or not _is_identity(found.get("recipe")) or "run" not in found:
            raise self._damaged("it is no checkpoint of a pretraining")
        return found

    def _damaged(self, fault: object) -> InputError:
        return InputError(
            f"{self.path / UNFINISHED}: the pretraining cannot go on from it, because {fault}; delete it to begin "
            "anew, or choose another --output"
        )

    def _write_record(self, weights: str | None, history: list[dict[str, Any]]) -> None:
        size, recipe, corpus = self._identity()
        record = {"size": size, "recipe": recipe, "corpus": corpus, "weights": weights, "history": history}
        write_files({RECORD: (json.dumps(record, indent=2) + "\n").encode()}, self.path)


def _is_identity(text: Any) -> bool:
    """Whether `text` is the JSON of a size, a recipe and a corpus."""
    try:
        found = json.loads(text)
    except (TypeError, ValueError):
        return False
    return isinstance(found, list) and len(found) == 3 and isinstance(found[0], dict) and isinstance(found[1], dict)


def output_bytes(size: HyenaConfig) -> int:
    """Approximately the most bytes that a pretraining needs in its folder."""
    parameters = sum(parameter.nbytes for parameter in without_memory(size, 2).parameters())
    return classifier_bytes(size, 2) + NUMBERS_SAVED * parameters
