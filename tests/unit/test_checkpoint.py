"""Weights come back as they were from every published format, and from nothing else."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from omegaconf import OmegaConf

from hyena.checkpoint import (
    find_weights,
    load_backbone,
    named_tensors,
    read_tensors,
    save_weights,
    tensors_digest,
    weights_file,
    weights_present,
)
from hyena.config import HyenaConfig
from hyena.errors import InputError
from hyena.model import Classifier, initialise

SMALL = HyenaConfig(d_model=8, n_layer=2, l_max=34, filter_order=4)
FREQUENCY = "backbone.layers.0.mixer.filter_fn.implicit_filter.{}.freq"
POSITIONS = "backbone.layers.{}.mixer.filter_fn.pos_emb.z"

Tensors = dict[str, torch.Tensor]


def classifier(seed: int) -> Classifier:
    model = Classifier(SMALL, num_classes=2)
    initialise(model, seed)
    with torch.no_grad():
        for layer in model.backbone.layers:
            layer.mixer.filter_fn.implicit_filter[1].freq += torch.linspace(0, seed, 4)  # type: ignore[union-attr, operator]
    return model


@pytest.fixture(scope="module")
def trained() -> Classifier:
    return classifier(seed=1)


@pytest.fixture
def backbone_tensors(trained: Classifier) -> Tensors:
    return {name: tensor.clone() for name, tensor in named_tensors(trained.backbone).items()}


def checkpointing_names(name: str) -> str:
    """What gradient checkpointing makes of a name: the mixer and the MLP are wrapped."""
    return re.sub(r"\.(mixer|mlp)\.", r".\1.layer.", name)


def lightning(tensors: Tensors, rename: Callable[[str], str] = str) -> dict[str, Any]:
    """The content of LongSafari/NAME's weights.ckpt: Lightning 1.8.6, with its settings, counters and optimiser."""
    state = OrderedDict({f"model.{rename(name)}": tensor for name, tensor in tensors.items()})
    state["model.lm_head.weight"] = tensors["backbone.embeddings.word_embeddings.weight"]
    for split in ("train", "val", "test"):
        state[f"{split}_torchmetrics.num_tokens.count"] = torch.tensor(123456789)
    return {
        "epoch": 99,
        "global_step": 10000,
        "pytorch-lightning_version": "1.8.6",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 100}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'test/loss'}": {"best_model_score": torch.tensor(1.16)}},
        "optimizer_states": [
            {"state": {0: {"step": torch.tensor(5.0), "exp_avg": torch.zeros(3)}}, "param_groups": []}
        ],
        "lr_schedulers": [{"_last_lr": [0.0006]}],
        "hparams_name": "config",
        "hyper_parameters": OmegaConf.create(
            {
                "model": {
                    "_name_": "lm",
                    "d_model": 128,
                    "layer": {"_name_": "hyena", "lr_pos_emb": 0.0, "bias": None},
                },
                "dataset": {"max_length": 1024, "splits": ["train", "val"]},
                "train": {"seed": 2222, "global_batch_size": "${dataset.max_length}"},
            }
        ),
    }


def write_lightning(tensors: Tensors, folder: Path) -> Path:
    torch.save(lightning(tensors), folder / "weights.ckpt")
    return folder / "weights.ckpt"


def write_lightning_checkpointing(tensors: Tensors, folder: Path) -> Path:
    torch.save(lightning(tensors, checkpointing_names), folder / "weights.ckpt")
    return folder


def hub_names(tensors: Tensors) -> Tensors:
    return {f"hyena.{name}": tensor for name, tensor in tensors.items()} | {"score.weight": torch.ones(2, 8)}


def write_hub_bin(tensors: Tensors, folder: Path) -> Path:
    torch.save(hub_names(tensors), folder / "pytorch_model.bin")
    return folder


def write_hub_safetensors(tensors: Tensors, folder: Path) -> Path:
    """As transformers writes it: of tensors that share memory, only one is kept."""
    kept = {name: tensor for name, tensor in hub_names(tensors).items() if not re.search(r"\.[35]\.freq$", name)}
    assert len(kept) == len(tensors) + 1 - 4
    safetensors.torch.save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_plain(tensors: Tensors, folder: Path) -> Path:
    head = {"head.output_transform.weight": torch.ones(2, 8), "head.output_transform.bias": torch.ones(2)}
    torch.save({**tensors, **head}, folder / "fine-tuned.pt")
    return folder / "fine-tuned.pt"


FORMATS = [write_lightning, write_lightning_checkpointing, write_hub_bin, write_hub_safetensors, write_plain]


# ------------------------------------------------------------------------------------------------------------ loading


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
def test_every_format_loads_bit_for_bit_and_leaves_the_head(
    write: Callable[[Tensors, Path], Path],
    trained: Classifier,
    backbone_tensors: Tensors,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")  # published files say that
    path = write(backbone_tensors, tmp_path)
    model = classifier(seed=2)
    head = {name: tensor.clone() for name, tensor in model.head.state_dict().items()}
    memory = {name: tensor.data_ptr() for name, tensor in named_tensors(model.backbone).items()}
    digest = load_backbone(model.backbone, path)
    assert digest == tensors_digest(backbone_tensors)
    for name, tensor in named_tensors(model.backbone).items():
        assert torch.equal(tensor, backbone_tensors[name]), name
        assert tensor.data_ptr() == memory[name], "loaded in place, so that what shares memory still does"
    assert all(torch.equal(tensor, head[name]) for name, tensor in model.head.state_dict().items())
    tokens = torch.randint(7, 11, (3, 20), generator=torch.Generator().manual_seed(1))
    assert torch.equal(model.backbone(tokens), trained.backbone(tokens))


def test_the_published_lightning_file_is_what_torch_itself_refuses(backbone_tensors: Tensors, tmp_path: Path) -> None:
    path = write_lightning(backbone_tensors, tmp_path)
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(path, weights_only=True)
    assert set(read_tensors(path)) - set(backbone_tensors) == {
        "lm_head.weight",
        *(f"{split}_torchmetrics.num_tokens.count" for split in ("train", "val", "test")),
    }


def test_the_stored_positions_and_window_are_used(backbone_tensors: Tensors, tmp_path: Path) -> None:
    for name, tensor in backbone_tensors.items():
        if "pos_emb" in name or "deltas" in name:
            tensor += 0.25
    model = classifier(seed=2)
    load_backbone(model.backbone, write_plain(backbone_tensors, tmp_path))
    assert torch.equal(named_tensors(model.backbone)[POSITIONS.format(1)], backbone_tensors[POSITIONS.format(1)])


def misfit(tensors: Tensors, change: Callable[[Tensors], Any], folder: Path) -> str:
    """The message of the refusal; the model is unchanged after it."""
    change(tensors)
    torch.save(tensors, folder / "x.pt")
    model = classifier(seed=2)
    before = tensors_digest(named_tensors(model.backbone))
    with pytest.raises(InputError) as caught:
        load_backbone(model.backbone, folder / "x.pt")
    assert tensors_digest(named_tensors(model.backbone)) == before
    message = str(caught.value)
    assert "\n" not in message
    return message.partition("not the weights of this model: ")[2]


BIAS = "backbone.ln_f.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(BIAS), f"{BIAS} is missing"),
        (
            lambda t: (t.pop(BIAS), t.pop("backbone.ln_f.weight")),
            "backbone.ln_f.weight and backbone.ln_f.bias are missing",
        ),
        (lambda t: t.update({"backbone.ln_f.gain": torch.ones(1)}), "backbone.ln_f.gain is unexpected"),
        (
            lambda t: t.update({"backbone.layers.2.norm1.bias": torch.ones(8)}),
            "backbone.layers.2.norm1.bias is unexpected",
        ),
        (lambda t: t.update({"lm_head.weight_mask": torch.ones(1)}), "lm_head.weight_mask is unexpected"),
        (lambda t: t.update({BIAS: torch.ones(9)}), f"{BIAS} has shape (9,), the model needs (8,)"),
        (lambda t: t.update({BIAS: torch.ones(1, 8)}), f"{BIAS} has shape (1, 8), the model needs (8,)"),
        (
            lambda t: t.update({BIAS: t[BIAS].double()}),
            f"{BIAS} is torch.float64, which torch.float32 cannot hold exactly",
        ),
        (lambda t: t.update({BIAS: t[BIAS].int()}), f"{BIAS} is torch.int32, which torch.float32 cannot hold exactly"),
        (lambda t: t.update({BIAS: t[BIAS] + torch.nan}), f"{BIAS} holds values that are not finite"),
        (lambda t: t.update({BIAS: t[BIAS] - torch.inf}), f"{BIAS} holds values that are not finite"),
        (
            lambda t: t[FREQUENCY.format(5)].add_(1),
            f"{FREQUENCY.format(1)} and {FREQUENCY.format(5)} differ, where the model has one tensor",
        ),
        (
            lambda t: t[POSITIONS.format(1)].add_(1),
            f"{POSITIONS.format(0)} and {POSITIONS.format(1)} differ, where the model has one tensor",
        ),
        (lambda t: [t.pop(FREQUENCY.format(i)) for i in (1, 3, 5)], f"{FREQUENCY.format(1)} is missing"),
        (
            lambda t: [t.update({n: torch.ones(3)}) for n in list(t)],
            "backbone.embeddings.word_embeddings.weight has shape (3,), the model needs (16, 8)",
        ),
    ],
)
def test_a_misfit_is_named_and_changes_nothing(
    change: Callable[[Tensors], Any], message: str, backbone_tensors: Tensors, tmp_path: Path
) -> None:
    said = misfit(backbone_tensors, change, tmp_path)
    assert said.split("; ")[0] == message
    assert len(said) < 1000


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    save_weights(classifier(1).backbone, SMALL, tmp_path)
    longer = Classifier(HyenaConfig(d_model=8, n_layer=2, l_max=66, filter_order=4), 2)
    with pytest.raises(InputError, match=r"pos_emb.z has shape \(1, 34, 5\), the model needs \(1, 66, 5\)"):
        load_backbone(longer.backbone, tmp_path)
    deeper = Classifier(HyenaConfig(d_model=8, n_layer=3, l_max=34, filter_order=4), 2)
    with pytest.raises(InputError, match=r"backbone.layers.2.mixer.in_proj.weight and 23 more are missing"):
        load_backbone(deeper.backbone, tmp_path)


def test_one_tensor_under_two_names_is_refused(backbone_tensors: Tensors, tmp_path: Path) -> None:
    torch.save({**backbone_tensors, f"model.{BIAS}": torch.ones(8)}, tmp_path / "x.pt")
    with pytest.raises(InputError, match=f"holds {BIAS} twice, the second time as model.{BIAS}"):
        read_tensors(tmp_path / "x.pt")


def test_a_narrower_type_is_widened_exactly(backbone_tensors: Tensors, tmp_path: Path) -> None:
    narrow = {name: tensor.bfloat16() for name, tensor in backbone_tensors.items()}
    torch.save(narrow, tmp_path / "x.pt")
    model = classifier(seed=2)
    load_backbone(model.backbone, tmp_path / "x.pt")
    assert all(torch.equal(t, narrow[name].float()) for name, t in named_tensors(model.backbone).items())


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"\xff" * 8 + b"{}", b"\x02\x00\x00\x00\x00\x00\x00\x00{}x"])
@pytest.mark.parametrize("name", ["model.safetensors", "weights.ckpt"])
def test_a_damaged_file_is_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: damaged, or not a") as caught:
        read_tensors(tmp_path)
    assert "\n" not in str(caught.value)


def test_which_file_of_a_folder_is_read(tmp_path: Path) -> None:
    def refusal() -> str:
        with pytest.raises(InputError) as caught:
            weights_file(tmp_path)
        return str(caught.value)

    assert "holds no model.safetensors" in refusal()
    (tmp_path / "a.ckpt").touch()
    (tmp_path / "notes.txt").touch()
    assert weights_file(tmp_path).name == "a.ckpt"
    (tmp_path / "b.pt").touch()
    assert "several weights files (a.ckpt, b.pt): name one" in refusal()
    for name in ("weights.ckpt", "pytorch_model.bin", "model.safetensors"):
        (tmp_path / name).touch()
        assert weights_file(tmp_path).name == name, "each goes before those already there"
    with pytest.raises(InputError, match="no such file or folder of weights"):
        weights_file(tmp_path / "elsewhere")


# ------------------------------------------------------------------------------------------------------------- digest


def test_the_digest_sees_name_type_shape_and_every_bit_but_not_the_layout() -> None:
    base = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2)}
    same = {"b": torch.zeros(2), "a": torch.arange(6.0).reshape(2, 3).T.contiguous().T}
    assert tensors_digest(same) == tensors_digest(base)
    others = [
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"], "b": torch.zeros(2, dtype=torch.int32)},
        {"a": base["a"].reshape(3, 2), "b": base["b"]},
        {"a": base["a"], "b": -base["b"]},  # minus zero
        {"a": base["a"]},
    ]
    digests = {tensors_digest(tensors) for tensors in [base, *others]}
    assert len(digests) == len(others) + 1
    assert tensors_digest({}) == hashlib.sha256().hexdigest()


# ------------------------------------------------------------------------------------------------------------- saving


def test_saved_weights_come_back_bit_for_bit(trained: Classifier, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "weights"
    digest = save_weights(trained.backbone, SMALL, folder)
    model = classifier(seed=2)
    assert load_backbone(model.backbone, folder) == digest == tensors_digest(named_tensors(trained.backbone))
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]
    stored = safetensors.torch.load_file(folder / "model.safetensors")
    assert set(stored) == {f"hyena.{name}" for name in named_tensors(trained.backbone)}
    with safetensors.safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "hyenadna"
    fields = {"d_model": 8, "d_inner": 32, "n_layer": 2, "max_seq_len": 34, "emb_dim": 5, "filter_order": 4}
    assert {key: config[key] for key in fields} == fields


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace"])
def test_a_crash_while_saving_leaves_the_old_weights(
    call: str, trained: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = save_weights(trained.backbone, SMALL, tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(call, full)
    with pytest.raises(OSError, match="No space left"):
        save_weights(classifier(2).backbone, SMALL, tmp_path)
    monkeypatch.undo()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert load_backbone(classifier(3).backbone, tmp_path) == digest


# ------------------------------------------------------------------------------------------------------------ finding

TINY = "hyenadna-tiny-1k-seqlen"


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*args: object, **kwargs: object) -> str:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("hyena.checkpoint.hf_hub_download", asked)


@pytest.mark.parametrize("place", [f"{TINY}/weights.ckpt", f"{TINY}-hf/model.safetensors", f"{TINY}.ckpt", "own.pt"])
def test_what_lies_in_the_folder_goes_before_the_hub(place: str, tmp_path: Path, no_hub: None) -> None:
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.touch()
    name = "own" if place == "own.pt" else TINY
    assert find_weights(name, tmp_path) == (file if file.parent == tmp_path else file.parent)
    assert weights_present(name, tmp_path)


def test_an_empty_folder_is_no_weights(tmp_path: Path) -> None:
    (tmp_path / TINY).mkdir()
    assert not weights_present(TINY, tmp_path)
    (tmp_path / TINY / "model.safetensors").touch()
    assert weights_present(TINY, tmp_path)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", ".", ""])
def test_a_name_is_not_a_path(name: str, tmp_path: Path, no_hub: None) -> None:
    with pytest.raises(InputError, match="a name is wanted here, not a path"):
        find_weights(name, tmp_path)


def test_an_unknown_name_is_not_asked_of_the_hub(tmp_path: Path, no_hub: None) -> None:
    with pytest.raises(InputError, match=f"not published; did you mean '{TINY}'"):
        find_weights("hyenadna-tiny-1k-seqlenn", tmp_path)


def test_without_a_download_the_message_says_where_to_put_them(tmp_path: Path) -> None:
    assert not weights_present(TINY, tmp_path)
    with pytest.raises(InputError) as caught:
        find_weights(TINY, tmp_path, download=False)
    assert str(tmp_path / TINY) in str(caught.value)
    assert "\n" not in str(caught.value)


COMMITS = {"main": "a" * 40, "v2": "b" * 40}


class Hub(BaseHTTPRequestHandler):
    """The few answers of huggingface.co that a download needs, from `files`: (repository, file, commit) → content."""

    files: dict[tuple[str, str, str], bytes]
    announced: dict[tuple[str, str, str], bytes]  # what the SHA-256 is computed of, where not the content
    requests: list[tuple[str, str, str | None]]
    drop_after: int | None  # bytes after which the first transfer breaks off
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        cls = type(self)
        cls.requests.append((self.command, self.path, self.headers["Range"]))
        match = re.fullmatch(r"/LongSafari/([\w-]+)/resolve/(\w+)/([\w.]+)", self.path)
        assert match, self.path
        repository, revision, file = match.groups()
        commit = COMMITS.get(revision, revision)
        if repository not in {key[0] for key in cls.files}:
            return self.refuse(404, "RepoNotFound")
        if commit not in COMMITS.values():
            return self.refuse(404, "RevisionNotFound")
        key = (repository, file, commit)
        if key not in cls.files:
            return self.refuse(404, "EntryNotFound", commit)
        content = cls.files[key]
        start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-")) if self.headers["Range"] else 0
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha256(cls.announced.get(key, content)).hexdigest()}"')
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            if cls.drop_after is not None:
                self.wfile.write(content[: cls.drop_after])
                cls.drop_after = None
                self.close_connection = True
                return None
            self.wfile.write(content[start:])
        return None

    def refuse(self, status: int, code: str, commit: str | None = None) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[tuple[type[Hub], str]]:
    class Server(Hub):
        files = {}  # noqa: RUF012
        announced = {}  # noqa: RUF012
        requests = []  # noqa: RUF012
        drop_after = None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Server, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


ASK = """
import json, sys
from pathlib import Path
from hyena.checkpoint import find_weights, weights_present
from hyena.errors import InputError
for name, folder, revision in json.loads(sys.argv[1]):
    try:
        print(json.dumps(str(find_weights(name, Path(folder), revision))))
    except InputError as error:
        print(json.dumps("refused: " + str(error)))
"""


def start(endpoint: str, *wanted: tuple[str, Path, str | None]) -> subprocess.Popen[str]:
    """A process that asks for weights, one after the other; HF_ENDPOINT is read once, at import."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        environment.pop(proxy, None)
    arguments = json.dumps([(name, str(folder), revision) for name, folder, revision in wanted])
    return subprocess.Popen(
        [sys.executable, "-c", ASK, arguments],
        env=environment,
        cwd=Path(__file__).parents[2],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def answers(process: subprocess.Popen[str]) -> list[str]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


def test_the_hub_is_asked_once_by_revision_and_in_order(hub: tuple[type[Hub], str], tmp_path: Path) -> None:
    server, endpoint = hub
    server.files = {
        (f"{TINY}-hf", "model.safetensors", COMMITS["main"]): b"new",
        (f"{TINY}-hf", "pytorch_model.bin", COMMITS["v2"]): b"second",
        ("hyenadna-small-32k-seqlen", "weights.ckpt", COMMITS["main"]): b"lightning",
    }
    damaged = ("hyenadna-large-1m-seqlen-hf", "model.safetensors", COMMITS["main"])
    server.files[damaged] = b"damaged on the way"
    server.announced[damaged] = b"as it was announced"
    new, again, second, ckpt, nowhere, unknown_revision, broken = answers(
        start(
            endpoint,
            (TINY, tmp_path, None),
            (TINY, tmp_path, None),
            (TINY, tmp_path, "v2"),
            ("hyenadna-small-32k-seqlen", tmp_path, None),
            ("hyenadna-medium-160k-seqlen", tmp_path, None),
            (TINY, tmp_path, "v9"),
            ("hyenadna-large-1m-seqlen", tmp_path, None),
        )
    )
    assert Path(new).read_bytes() == b"new"
    assert again == new
    assert Path(second).read_bytes() == b"second", "of a revision, and the next format where the first is not there"
    assert Path(ckpt).read_bytes() == b"lightning"
    assert "neither on this disk nor on the hub LongSafari/hyenadna-medium-160k-seqlen" in nowhere
    assert str(tmp_path / "hyenadna-medium-160k-seqlen") in nowhere
    assert "at revision v9" in unknown_revision
    assert "arrived damaged" in broken
    fetched = [path for command, path, _ in server.requests if command == "GET"]
    assert len([path for path in fetched if path.startswith(f"/LongSafari/{TINY}-hf/resolve/")]) == 2, fetched
    assert not [blob for blob in tmp_path.rglob("*") if blob.is_file() and blob.read_bytes() == b"damaged on the way"]
    assert weights_present(TINY, tmp_path), "without the network"


def test_a_broken_transfer_is_resumed(hub: tuple[type[Hub], str], tmp_path: Path) -> None:
    server, endpoint = hub
    chunk = 10 * 2**20  # the client writes in pieces of this size
    content = bytes(range(256)) * (chunk // 256 + 1000)
    server.files = {(f"{TINY}-hf", "model.safetensors", COMMITS["main"]): content}
    server.drop_after = chunk + 5000
    (path,) = answers(start(endpoint, (TINY, tmp_path, None)))
    assert Path(path).read_bytes() == content
    assert [ranged for command, _, ranged in server.requests if command == "GET"] == [None, f"bytes={chunk}-"]


def test_processes_that_ask_at_once_share_one_download(hub: tuple[type[Hub], str], tmp_path: Path) -> None:
    server, endpoint = hub
    content = b"weights" * 50_000
    server.files = {(f"{TINY}-hf", "model.safetensors", COMMITS["main"]): content}
    processes = [start(endpoint, (TINY, tmp_path, None)) for _ in range(2)]
    paths = {path for process in processes for path in answers(process)}
    assert len(paths) == 1
    assert Path(paths.pop()).read_bytes() == content
    assert len([command for command, _, _ in server.requests if command == "GET"]) == 1


@pytest.mark.parametrize(
    "variables",
    [
        {"HF_HUB_OFFLINE": "1"},
        pytest.param({}, marks=pytest.mark.slow, id="the client tries for 25 s"),
    ],
)
def test_a_hub_out_of_reach_is_one_line_that_says_where_to_put_the_weights(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (refused,) = answers(start("http://127.0.0.1:9", (TINY, tmp_path, None)))
    assert refused.startswith("refused: ")
    assert str(tmp_path / TINY) in refused
    assert "\n" not in refused
