"""`python -m hyena.pretrain`: what it writes, how it resumes, and what it never overwrites."""

import json
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hyena.data.corpus import Corpus
from hyena.data.synthetic import SyntheticConfig, synthetic_genome
from hyena.data.tokenizer import encode
from hyena.model.config import PUBLISHED, HyenaConfig
from hyena.model.hyenadna import Backbone
from hyena.pretrain import main
from hyena.system import files, terminal
from hyena.training.pretraining import Pretraining, PretrainingConfig, PretrainingRecord
from hyena.training.pretraining_folder import PretrainingFolder, output_bytes
from hyena.weights.checkpoint import load_backbone, save_weights

SIZE = HyenaConfig(d_model=16, n_layer=1, l_max=64)
SHAPE = ("--d-model", 16, "--n-layer", 1, "--l-max", 64)
RECIPE = ("--length", 32, "--batch-size", 4, "--log-every", 2)

Said = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def genome(tmp_path: Path) -> Path:
    path = tmp_path / "genome.fa"
    path.write_bytes(b">x\n" + synthetic_genome(SyntheticConfig(genome_bases=10_000)))
    return path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "weights"


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is refused is refused before the corpus is read."""

    def read(*_: object) -> None:
        pytest.fail("the corpus was read")

    monkeypatch.setattr("hyena.pretrain.read_corpus", read)


def command(genome: Path, output: Path, *words: object) -> int:
    return main([str(word) for word in (genome, "-o", output, *SHAPE, *RECIPE, *words)])


def interrupted(genome: Path, output: Path, monkeypatch: pytest.MonkeyPatch, steps: int = 10, at: int = 4) -> None:
    """Leave a pretraining of so many steps at one of them."""
    advance = Pretraining.advance

    def stopped(run: Pretraining) -> PretrainingRecord:
        if run.history and run.history[-1].step == at:
            raise KeyboardInterrupt
        return advance(run)

    with monkeypatch.context() as patch:
        patch.setattr(Pretraining, "advance", stopped)
        assert command(genome, output, "--steps", steps) == terminal.INTERRUPTED


def refusal(said: Said, code: int) -> str:
    """The one line of a wrong request."""
    printed = said.readouterr()
    assert code == terminal.WRONG_REQUEST, printed
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    return printed.err.removeprefix("error: ").rstrip("\n")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_command_writes_weights_that_load_and_prints_their_digest(genome: Path, output: Path, capsys: Said) -> None:
    assert command(genome, output, "--steps", 4) == 0
    said = capsys.readouterr().out
    assert "1 records, 10,000 bases; float32 on cpu" in said
    assert "tokens/s" in said
    assert "step 4/4" in said
    digest = load_backbone(Backbone(SIZE), output)
    assert f"weights {digest[:16]} in {output}" in said
    assert sorted(contents(output)) == ["config.json", "model.safetensors", "pretraining.json"]
    record = json.loads((output / "pretraining.json").read_text())
    assert record["weights"] == digest
    assert (record["size"]["d_model"], record["recipe"]["steps"]) == (16, 4)
    assert [one["step"] for one in record["history"]] == [2, 4]


def test_a_finished_pretraining_is_not_repeated(genome: Path, output: Path, capsys: Said) -> None:
    assert command(genome, output, "--steps", 2) == 0
    before = contents(output)
    capsys.readouterr()
    assert command(genome, output, "--steps", 2, "--checkpoint-activations") == 0
    assert "of this pretraining, which is finished: nothing to do" in capsys.readouterr().out
    assert contents(output) == before


def test_the_command_resumes_from_its_checkpoint(
    genome: Path, output: Path, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(genome, output, monkeypatch)
    assert sorted(contents(output)) == ["pretraining.json", "unfinished.pt"]
    assert command(genome, output, "--steps", 10) == 0
    assert "resuming from step 4" in capsys.readouterr().out
    assert command(genome, tmp_path / "whole", "--steps", 10) == 0
    assert load_backbone(Backbone(SIZE), output) == load_backbone(Backbone(SIZE), tmp_path / "whole")


@pytest.mark.parametrize("stop_at", ["config.json", "model.safetensors", "pretraining.json"])
def test_weights_are_written_again_after_a_kill_while_writing(
    stop_at: str, genome: Path, output: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = files.write_whole, []

    def killed(path: Path, content: bytes) -> None:
        written.append(path.name)
        if path.name == stop_at and len(written) > 1:  # the first is the record of the beginning
            raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_whole", killed)
        assert command(genome, output, "--steps", 2) == terminal.INTERRUPTED
    assert command(genome, output, "--steps", 2) == 0
    assert "nothing to do" not in capsys.readouterr().out
    digest = load_backbone(Backbone(SIZE), output)
    assert json.loads((output / "pretraining.json").read_text())["weights"] == digest


def test_a_folder_where_nothing_was_trained_yet_is_free(
    genome: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Pretraining, "advance", lambda run: (_ for _ in ()).throw(KeyboardInterrupt))
        assert command(genome, output, "--steps", 2) == terminal.INTERRUPTED
    assert sorted(contents(output)) == ["pretraining.json"]
    assert command(genome, output, "--steps", 4) == 0


# ------------------------------------------------------------------------------------------------ what it must not lose


@pytest.mark.parametrize("is_finished", [True, False])
def test_another_pretraining_is_not_overwritten(
    is_finished: bool, genome: Path, output: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_finished:
        assert command(genome, output, "--steps", 10) == 0
    else:
        interrupted(genome, output, monkeypatch)
    before, name = contents(output), "pretraining.json" if is_finished else "unfinished.pt"
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr("hyena.pretrain.read_corpus", lambda _: pytest.fail("the corpus was read"))
        said = refusal(capsys, command(genome, output, "--steps", 12, "--seed", 1))
    assert said == (
        f"{output / name} is of another pretraining (steps = 10 there, 12 asked for; seed = 0 there, 1 asked for): "
        "choose another --output"
    )
    genome.write_bytes(b">y\n" + synthetic_genome(SyntheticConfig(seed=1, genome_bases=10_000)))
    assert "is of another pretraining (of other genomes)" in refusal(capsys, command(genome, output, "--steps", 10))
    assert contents(output) == before


NAMED = ("--model", "hyenadna-tiny-1k-seqlen", "--length", 8, "--batch-size", 1, "--steps", 1)
UNNAMED = ("--d-model", 128, "--n-layer", 2, "--l-max", 1_026, *NAMED[2:])


def test_the_name_of_a_size_is_part_of_the_pretraining(genome: Path, output: Path, capsys: Said) -> None:
    def pretrain(folder: Path, *words: object) -> int:
        return main([str(word) for word in (genome, "-o", folder, *words)])

    assert pretrain(output, *NAMED) == pretrain(output.with_name("unnamed"), *UNNAMED) == 0
    one, other = (load_backbone(Backbone(PUBLISHED[NAMED[1]]), output.with_name(n)) for n in (output.name, "unnamed"))
    assert one != other, "the streams have the same salt"
    capsys.readouterr()
    said = refusal(capsys, pretrain(output, *UNNAMED))
    assert "is of another pretraining (model = hyenadna-tiny-1k-seqlen there, None asked for)" in said


def test_a_folder_of_a_release_that_recorded_no_name_is_accepted(genome: Path, output: Path, capsys: Said) -> None:
    assert command(genome, output, "--steps", 2) == 0
    record = json.loads((output / "pretraining.json").read_text())
    del record["size"]["model"]
    (output / "pretraining.json").write_text(json.dumps(record))
    capsys.readouterr()
    assert command(genome, output, "--steps", 2) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "pytorch_model.bin", "weights.ckpt", "mine.pt", "config.json", "study.json", "plan.parquet"],
)
def test_files_of_other_programs_are_not_overwritten(name: str, genome: Path, output: Path, capsys: Said) -> None:
    output.mkdir()
    (output / name).write_text("not yours")
    (output / "log.txt").write_text("does not matter")
    assert refusal(capsys, command(genome, output, "--steps", 2)) == (
        f"--output {output}: holds {name}, which this command has not recorded in pretraining.json: choose another "
        "folder"
    )
    assert sorted(contents(output)) == sorted(["log.txt", name])


def test_a_folder_with_unrelated_files_is_used(genome: Path, output: Path) -> None:
    output.mkdir()
    (output / "log.txt").write_text("kept")
    assert command(genome, output, "--steps", 2) == 0
    assert (output / "log.txt").read_text() == "kept"


def test_weights_that_were_changed_since_are_named(genome: Path, output: Path, capsys: Said) -> None:
    assert command(genome, output, "--steps", 2) == 0
    save_weights(Backbone(SIZE), SIZE, output)
    before = contents(output)
    capsys.readouterr()
    said = refusal(capsys, command(genome, output, "--steps", 2))
    assert said.startswith(f"{output / 'model.safetensors'}: not the weights that pretraining.json records")
    assert contents(output) == before
    (output / "model.safetensors").unlink()  # moved away, as it says
    assert command(genome, output, "--steps", 2) == 0


# ----------------------------------------------------------------------------------------------- damaged checkpoints


def changed(output: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Save the checkpoint with something in it changed."""
    saved = torch.load(output / "unfinished.pt", weights_only=True)
    change(saved)
    torch.save(saved, output / "unfinished.pt")


def of(output: Path) -> Path:
    return output / "unfinished.pt"


BIAS = "backbone.ln_f.bias"
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda o: of(o).write_bytes(b""), "it is empty"),
    "cut": (lambda o: of(o).write_bytes(of(o).read_bytes()[:-100]), "it is damaged, or was not written by"),
    "cut in half": (lambda o: of(o).write_bytes(of(o).read_bytes()[:9000]), "it is damaged, or was not written by"),
    "text": (lambda o: of(o).write_text("hello"), "it is damaged, or was not written by this program"),
    "zeros": (lambda o: of(o).write_bytes(bytes(of(o).stat().st_size)), "it is damaged, or was not written by"),
    "another program's": (lambda o: torch.save(torch.nn.Linear(2, 2), of(o)), "it is damaged, or was not written by"),
    "other keys": (lambda o: torch.save({"epoch": 3}, of(o)), "it is no checkpoint of a pretraining"),
    "a list": (lambda o: torch.save([1, 2], of(o)), "it is no checkpoint of a pretraining"),
    "recipe of text": (lambda o: changed(o, lambda s: s.update(recipe="{")), "it is no checkpoint of a pretraining"),
    "no run": (lambda o: changed(o, lambda s: s.pop("run")), "it is no checkpoint of a pretraining"),
    "an empty run": (lambda o: changed(o, lambda s: s["run"].clear()), "it holds no parameters, optimiser and random"),
    "another model": (lambda o: changed(o, lambda s: s["run"]["model"].pop(BIAS)), "its parameters are those of"),
    "another shape": (
        lambda o: changed(o, lambda s: s["run"]["model"].update({BIAS: torch.ones(8)})),
        f"its {BIAS} is no tensor of shape (16,)",
    ),
    "not finite": (
        lambda o: changed(o, lambda s: s["run"]["model"][BIAS].fill_(float("nan"))),
        f"its {BIAS} holds values that are not finite",
    ),
    "moments not finite": (
        lambda o: changed(o, lambda s: s["run"]["optimizer"]["state"][0]["exp_avg"].fill_(float("inf"))),
        "its optimiser's exp_avg holds values that are not finite",
    ),
    "no optimiser": (lambda o: changed(o, lambda s: s["run"]["optimizer"].clear()), "it holds no optimiser"),
    "another optimiser": (
        lambda o: changed(o, lambda s: s["run"]["optimizer"]["param_groups"].pop()),
        "its optimiser is of another model",
    ),
    "no streams": (lambda o: changed(o, lambda s: s["run"]["streams"].clear()), "its random streams are others"),
    "no history": (lambda o: changed(o, lambda s: s["run"]["history"].clear()), "its steps are not of this"),
    "another history": (lambda o: changed(o, lambda s: s["run"]["history"][0].update(x=1)), "it is damaged ("),
    "a folder": (lambda o: (of(o).unlink(), of(o).mkdir()), "it cannot be read, Is a directory"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_damaged_checkpoint_is_an_error_and_kept(
    kind: str, genome: Path, output: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(genome, output, monkeypatch)
    damage, fault = DAMAGE[kind]
    damage(output)
    before = {path: path.read_bytes() for path in output.iterdir() if path.is_file()}
    capsys.readouterr()
    code = command(genome, output, "--steps", 10)
    printed = capsys.readouterr()
    assert code == terminal.WRONG_REQUEST
    assert printed.err.startswith(f"error: {of(output)}: the pretraining cannot go on from it, because {fault}")
    assert printed.err.endswith("; delete it to begin anew, or choose another --output\n")
    assert printed.err.count("\n") == 1
    assert {path: path.read_bytes() for path in output.iterdir() if path.is_file()} == before


def test_deleting_a_damaged_checkpoint_starts_again(
    genome: Path, output: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(genome, output, monkeypatch)
    of(output).write_bytes(b"")
    assert command(genome, output, "--steps", 10) == 2
    of(output).unlink()
    capsys.readouterr()
    assert command(genome, output, "--steps", 10) == 0
    assert "goes on" not in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------- where it writes


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("genome.fa", "is a file; name a folder"),
        ("genome.fa/weights", "{tmp}/genome.fa is a file; name a folder"),
        ("link", "is a link to nothing; name a folder"),
        ("link/weights", "{tmp}/link is a link to nothing; name a folder"),
    ],
)
def test_an_output_that_is_not_a_folder_is_an_error(
    place: str, fault: str, genome: Path, tmp_path: Path, capsys: Said
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    before = sorted(tmp_path.iterdir())
    said = refusal(capsys, command(genome, tmp_path / place, "--steps", 2))
    assert said.startswith(f"--output {tmp_path / place}: {fault.format(tmp=tmp_path)}")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("address", ["s3://bucket/weights", "gs:/bucket/weights"])
def test_an_address_is_not_a_folder(address: str, genome: Path, tmp_path: Path, capsys: Said) -> None:
    code = main([str(word) for word in (genome, "-o", address, "--steps", 1, *SHAPE, *RECIPE)])
    assert "is an address; name a folder on this machine" in refusal(capsys, code)


@pytest.mark.usefixtures("unread")
def test_a_folder_that_is_not_writable_is_an_error(
    genome: Path, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", denied)
    said = refusal(capsys, command(genome, tmp_path / "a" / "b", "--steps", 2))
    assert said == f"--output {tmp_path / 'a' / 'b'}: {tmp_path} is not writable (Permission denied)"


@pytest.mark.usefixtures("unread")
def test_too_little_free_space_is_an_error_beforehand(
    genome: Path, output: Path, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**9, 10**9 - 1_000_000, 1_000_000))
    said = refusal(capsys, command(genome, output, "--steps", 2, "--emb-dim", 1023))
    assert said == f"--output {output}: needs 2.47 MB, 1.00 MB are free there: make room, or choose another folder"
    assert not output.exists()


def test_the_required_space_is_what_is_written(tmp_path: Path) -> None:
    size, config = PUBLISHED["hyenadna-tiny-1k-seqlen"], PretrainingConfig(steps=1, length=32, batch_size=1)
    corpus = Corpus([encode(b"ACGT" * 500)])
    run, folder = Pretraining(size, corpus, config, torch.device("cpu")), PretrainingFolder(tmp_path, size, config)
    folder.corpus = corpus.digest
    run.advance()
    folder.begin()
    folder.save(run)
    checkpoint_bytes = (tmp_path / "unfinished.pt").stat().st_size
    folder.finish(run)
    written = 2 * checkpoint_bytes + sum(path.stat().st_size for path in tmp_path.iterdir())
    assert output_bytes(size) == pytest.approx(written, rel=0.05)


def fill_the_disk(patch: pytest.MonkeyPatch, name: str) -> None:
    """Let no file of that name be written any more."""
    write = files.write_whole

    def full(path: Path, content: bytes) -> None:
        if path.name == name:
            raise OSError(28, "No space left on device", str(path))
        write(path, content)

    patch.setattr(files, "write_whole", full)


def test_a_full_disk_costs_a_checkpoint_and_not_the_training(
    genome: Path, output: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_the_disk(monkeypatch, "unfinished.pt")
    assert command(genome, output, "--steps", 4) == 0
    said = capsys.readouterr().err
    assert said == f"no checkpoint at step 2 ({of(output)}: no space left on device); training continues\n"
    assert load_backbone(Backbone(SIZE), output)


def test_a_disk_that_is_full_at_the_end_keeps_the_checkpoint(
    genome: Path, output: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fill_the_disk(patch, "model.safetensors")
        patch.setattr("hyena.pretrain.PATIENCE_S", 0.0)
        assert command(genome, output, "--steps", 4) == 2
    assert capsys.readouterr().err == f"error: {output / 'model.safetensors'}: no space left on device\n"
    assert command(genome, output, "--steps", 4) == 0
    assert "resuming from step 2" in capsys.readouterr().out


def test_writing_weights_is_retried_while_the_disk_is_full(
    genome: Path, output: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, waited = files.write_whole, []

    def full(path: Path, content: bytes) -> None:
        if path.name == "model.safetensors" and len(waited) < 3:
            raise OSError(28, "No space left on device", str(path))
        write(path, content)

    monkeypatch.setattr(files, "write_whole", full)
    monkeypatch.setattr("hyena.pretrain.time.sleep", waited.append)
    assert command(genome, output, "--steps", 2) == 0
    assert waited == [10.0] * 3
    assert capsys.readouterr().err == (
        f"the weights cannot be written ({output / 'model.safetensors'}: no space left on device); free some space, "
        "retrying for an hour\n"
    )
    assert load_backbone(Backbone(SIZE), output)


def test_out_of_memory_is_an_error_of_one_line(
    genome: Path, output: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Pretraining) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(Pretraining, "advance", refused)
    assert command(genome, output, "--steps", 4) == terminal.FAILED
    said = capsys.readouterr().err
    assert said == ("failed: out of memory; use a smaller --batch-size or --length, or --checkpoint-activations\n")


def test_a_diverged_loss_in_the_last_step_leaves_no_weights(
    genome: Path, output: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pretraining, "validate", lambda _: float("nan"))
    assert command(genome, output, "--steps", 2) == terminal.FAILED
    assert capsys.readouterr().err == "failed: the pretraining loss became nan by step 2\n"
    assert sorted(contents(output)) == ["pretraining.json"]


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ((), "expected either --model"),
        (("--model", "hyenadna-tiny"), "unknown model 'hyenadna-tiny'"),
        (("--d-model", 8), "incomplete shape"),
        (("--model", "hyenadna-tiny-1k-seqlen", "--emb-dim", 9), "expected either --model"),
        (("--model", "hyenadna-tiny-1k-seqlen", "--hold-out", "y"), "no record 'y' in the corpus; known: x"),
        (("--model", "hyenadna-tiny-1k-seqlen", "--hold-out", "x:9-99999"), "must lie within 1-36000"),
        (("--model", "hyenadna-tiny-1k-seqlen", "--length", 5000), "at most 1026"),
    ],
)
def test_wrong_requests_are_errors_of_one_line(
    genome: Path, output: Path, capsys: Said, words: tuple[object, ...], fault: str
) -> None:
    genome.write_bytes(b">x\n" + b"ACGT" * 9000)
    code = main([str(word) for word in (genome, "-o", output, "--steps", 1, *words)])
    assert fault in refusal(capsys, code)
    assert not output.exists()


@pytest.mark.usefixtures("unread")
def test_windows_longer_than_the_model_are_an_error_beforehand(genome: Path, output: Path, capsys: Said) -> None:
    said = refusal(capsys, command(genome, output, "--steps", 2, "--length", 65))
    assert said == "pretraining length = 65: the model takes at most 64"
