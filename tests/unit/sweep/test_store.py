"""The store: complete files or none, a row that is written last, folders that belong to one study."""

import json
import os
import re
import resource
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sweep.compact
import sweep.status
from analysis import report
from hyena.errors import InputError
from hyena.system import waiting
from sweep.gpu_probe import remembered
from sweep.heartbeat import running_sweeps
from sweep.run import main as run_command
from sweep.schema import EPOCHS, PLAN, PREDICTIONS, PRETRAINING, RUNS
from sweep.store import Store, StoreError
from tests.support.gate import Gate
from tests.support.stored import files, row


@pytest.fixture
def store(place: str) -> Store:
    return Store(place)


@pytest.fixture
def disk(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "results"))


def test_every_column_has_a_meaning() -> None:
    for schema in (PLAN, RUNS, EPOCHS, PREDICTIONS, PRETRAINING):
        assert all(field.metadata[b"meaning"] for field in schema)
        assert all(b"unit" in field.metadata for field in schema)
        assert len(set(schema.names)) == len(schema.names)


def test_a_run_written_twice_is_stored_once(store: Store) -> None:
    store.write_run(row("a"))
    store.write_run(row("a", status="done", failure=None))
    store.write_run(row("b"))
    assert store.runs(["run_id", "status"]) == [
        {"run_id": "a", "status": "done"},
        {"run_id": "b", "status": "failed"},
    ]
    stored = pa.BufferReader(store.read("runs/a.parquet"))
    assert pq.read_schema(stored).field("train_s").metadata[b"unit"] == b"s"


def test_a_finished_run_leaves_no_checkpoint(store: Store) -> None:
    store.write("checkpoints/a.pt", b"state")
    store.write_run(row("a"))
    assert files(store) == ["runs/a.parquet"]


def test_a_write_that_fails_leaves_nothing_and_spoils_nothing(disk: Store) -> None:
    disk.write("file", b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"cannot write file: .*File too large"):
            disk.write("file", bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert disk.read("file") == b"old"
    assert files(disk) == ["file"]


def test_a_row_without_all_its_columns_is_refused(store: Store) -> None:
    bad = row("a")
    del bad["train_s"]  # type: ignore[misc]
    with pytest.raises(KeyError, match="train_s"):
        store.write_run(bad)
    assert files(store) == []


def test_a_truncated_row_counts_as_missing(store: Store) -> None:
    store.write_run(row("a"))
    store.write_run(row("b"))
    data = store.read("runs/a.parquet")
    assert data is not None
    store.write("runs/a.parquet", data[:-40])
    assert [r["run_id"] for r in store.runs(["run_id"])] == ["b"]


def test_a_half_written_file_is_not_seen(disk: Store) -> None:
    disk.write_run(row("a"))
    (Path(disk.root) / "runs" / "b.parquet.0123.tmp").write_bytes(b"half")
    assert disk.names("runs") == ["a.parquet"]
    assert disk.ended() == {"a"}


def test_a_folder_belongs_to_one_study(store: Store) -> None:
    store.claim({"name": "one"})
    store.write_plan({"name": "one"}, [])
    store.claim({"name": "one"})
    with pytest.raises(InputError, match="belong to the study 'one', not to 'two'"):
        store.claim({"name": "two"})


def test_a_folder_with_other_files_is_refused(store: Store) -> None:
    store.write("holiday.jpg", b"")
    with pytest.raises(InputError, match="holds other files"):
        store.claim({"name": "one"})


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        (b"", "empty"),
        (b'{"name": "on', "not valid JSON: Unterminated string"),
        (b"[]", "expected a JSON object, found list"),
        (b"{}", "'name' must be text, found None"),
        (b"\xff\xfe{", "not valid JSON: 'utf-16-le' codec"),
        (b'{"name": 3}', "'name' must be text, found 3"),
        (b"[" * 100_000, "not valid JSON: maximum recursion depth"),
    ],
)
def test_a_damaged_study_is_named_and_its_own_sweep_may_continue(disk: Store, spoilt: bytes, reason: str) -> None:
    disk.write_plan({"name": "one"}, [])
    disk.write_run(row("a", study="one"))
    disk.write("study.json", spoilt)
    message = re.escape(f"{disk.uri}/study.json: the file is damaged ({reason}")
    with pytest.raises(InputError, match=rf"^{message}[^\n]*\); run the sweep again, which rewrites it$"):
        disk.known_study()
    with pytest.raises(InputError, match="belong to the study 'one', not to 'two'"):
        disk.claim({"name": "two"})
    assert disk.claim({"name": "one"}) == ["study.json"]
    disk.write_plan({"name": "one"}, [])
    assert disk.claim({"name": "one"}) == []


def test_a_damaged_study_without_rows_can_be_claimed_by_any_study(store: Store) -> None:
    store.write_plan({"name": "one"}, [])
    store.write("study.json", b"")
    assert store.claim({"name": "two"}) == ["study.json"]


def test_a_damaged_study_whose_rows_do_not_name_one_study_is_refused(store: Store) -> None:
    store.write("study.json", b"")
    store.write("runs/a.parquet", b"")
    with pytest.raises(InputError, match=r"study\.json: the file is damaged or missing, and the runs do not show"):
        store.claim({"name": "one"})
    store.write_run(row("a", study="one"))
    store.write_run(row("b", study="two"))
    with pytest.raises(InputError, match="the runs do not show which study the folder belongs to"):
        store.claim({"name": "one"})


def test_a_deleted_study_is_recognised_by_its_rows(store: Store) -> None:
    store.write_plan({"name": "one"}, [])
    store.write_run(row("a", study="one"))
    store.delete("study.json")
    assert store.claim({"name": "one"}) == ["study.json"]
    with pytest.raises(InputError, match="holds other files"):
        store.claim({"name": "two"})


@pytest.mark.parametrize("spoilt", ["empty", "cut", "text", "another table"])
def test_a_damaged_plan_is_named_and_rewritten(store: Store, spoilt: str) -> None:
    store.write_plan({"name": "one"}, [])
    store.write_run(row("a"))
    plan, other = store.read("plan.parquet"), store.read("runs/a.parquet")
    assert plan is not None
    assert other is not None
    without = pq.read_table(pa.BufferReader(other)).drop_columns(["seed"])
    sink = pa.BufferOutputStream()
    pq.write_table(without, sink)
    content = {"empty": b"", "cut": plan[:-9], "text": b"hello", "another table": sink.getvalue().to_pybytes()}[spoilt]
    store.write("plan.parquet", content)
    with pytest.raises(InputError, match=r"/plan\.parquet: the file is damaged .*; run the sweep again") as refusal:
        store.plan()
    reasons = {"empty": "damaged (empty)", "another table": "lacks the column 'seed'"}
    assert reasons.get(spoilt, "not a readable Parquet") in str(refusal.value)
    assert store.claim({"name": "one"}) == ["plan.parquet"]


def test_a_plan_with_empty_cells_or_of_other_types_is_damaged(store: Store) -> None:
    store.write_plan({"name": "one"}, [])
    for values, reason in ((None, "has empty cells"), ("x", "its column 'pretraining_seed' holds values")):
        cells = {name: pa.array([values], pa.string()) for name in PLAN.names}
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(cells), sink)
        store.write("plan.parquet", sink.getvalue())
        with pytest.raises(InputError, match=rf"/plan\.parquet: the file is damaged \({reason}.*\); run the sweep"):
            store.plan()


@pytest.mark.parametrize("column", ["run_id", "status", "finished_at"])
def test_a_row_that_lacks_a_required_value_counts_as_missing(store: Store, column: str) -> None:
    store.write_run(row("a"))
    store.write_run(row("b"))
    whole = pq.read_table(pa.BufferReader(store.read("runs/a.parquet")))
    for values in (pa.nulls(1, whole.schema.field(column).type), pa.array([[1]])):
        sink = pa.BufferOutputStream()
        pq.write_table(whole.drop_columns([column]).append_column(column, values), sink)
        store.write("runs/a.parquet", sink.getvalue())
        assert [found["run_id"] for found in store.runs(["run_id", "status", "finished_at"])] == ["b"]


def test_folders_named_like_tables_are_ignored(disk: Store) -> None:
    disk.write_plan({"name": "one"}, [])
    disk.write_run(row("a"))
    for name in ("runs/b.parquet", "epochs/b.parquet", "memory/c-x.json", "at-work-here-1.json"):
        (Path(disk.root) / name).mkdir(parents=True)
    assert disk.ended() == {"a"}
    assert [found["run_id"] for found in disk.runs(["run_id"])] == ["a"]
    assert remembered(disk) == {}
    assert running_sweeps(disk, datetime.now(UTC)) == []
    assert sweep.compact.compact(disk).left == 1


@pytest.mark.parametrize("folder", ["runs", "compact"])
def test_a_file_in_place_of_a_folder_is_named(disk: Store, folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    disk.write_plan({"name": "one"}, [])
    (Path(disk.root) / folder).write_text("x")
    assert sweep.status.main([disk.uri]) == 2
    said = f"error: results '{disk.uri}': '{folder}' in it is a file, where a folder is expected\n"
    assert capsys.readouterr().err == said


def test_a_file_is_refused_as_results_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").write_text("x")
    assert sweep.status.main([str(tmp_path / "x")]) == 2
    said = f"error: results '{tmp_path / 'x'}': it is a file, where a folder is expected\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("content", ["", "null", "5", "[1]", "[{}]", "[" * 5000, "\xff"])
def test_small_files_with_other_content_count_as_missing(store: Store, content: str) -> None:
    for name in ("memory/kind-gpu.json", "at-work-here-1.json"):
        store.write(name, content.encode("latin-1"))
    assert remembered(store) == {}
    assert running_sweeps(store, datetime.now(UTC)) == []


@pytest.mark.parametrize("name", ["study.json", "plan.parquet"])
def test_a_folder_in_place_of_a_file_is_named(disk: Store, name: str) -> None:
    disk.write_plan({"name": "one"}, [])
    disk.delete(name)
    (Path(disk.root) / name).mkdir()
    with pytest.raises(InputError, match=f"cannot read {name}: .* is a directory"):
        disk.claim({"name": "one"})


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        ("s3:/bucket/x", "s3://bucket/x"),
        ("s3:bucket/x", "s3://bucket/x"),
        ("s3:///bucket/x", "s3://bucket/x"),
        ("s3//bucket/x", "s3://bucket/x"),
        ("s3;//bucket/x", "s3://bucket/x"),
        ("S3://bucket/x", "s3://bucket/x"),
        ("s3a://bucket/x", "s3://bucket/x"),
        ("s3:\\\\bucket", "s3://bucket"),
        ("gs:/bucket/x", "gs://bucket/x"),
        ("gcs://bucket/x", "gs://bucket/x"),
        ("GS://bucket/x", "gs://bucket/x"),
        ("file:/x/y", "file:///x/y"),
        ("file://x/y", "file:///x/y"),
        ("FILE:///x/y", "file:///x/y"),
    ],
)
def test_a_misspelt_address_is_refused_with_what_was_meant(address: str, meant: str) -> None:
    with pytest.raises(InputError) as refusal:
        Store(address)
    assert str(refusal.value) == (
        f"results: '{address}' is not a folder, s3:// or gs:// address; did you mean {meant}?"
    )


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", "an empty address"),
        ("  ", "an empty address"),
        ("results ", "'results ' begins or ends with a space"),
        (" s3://bucket/x", "begins or ends with a space"),
        ("a\0b", "holds a control character"),
        ("a\nb", "holds a control character"),
        ("http://bucket/x", "'http://bucket/x' is not a folder, s3:// or gs:// address"),
        ("abfs://bucket/x", "is not a folder"),
        ("mock://bucket/x", "is not a folder"),
        ("://bucket/x", "is not a folder"),
        ("results/s3://bucket/x", "is not a folder"),
        ("s3:", "is not a folder"),
        ("file:here", "did you mean here, or file:/// and an absolute path?"),
        ("C:\\results", "it looks like a Windows path"),
        ("C:/results", "it looks like a Windows path"),
        ("runs:/x", "for a folder of that name, write ./runs:/x"),
        ("~nobody-of-that-name/x", "no home folder"),
        ("\udce9", "the name is not UTF-8"),
        ("x" * 300, "ile name too long"),
    ],
)
def test_what_is_neither_a_folder_nor_an_address_is_refused(address: str, said: str) -> None:
    with pytest.raises(InputError) as refusal:
        Store(address)
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("~/x", "{home}/x"),
        ("runs:2024/x", "{here}/runs:2024/x"),
        ("2024-01-01T10:00:00", "{here}/2024-01-01T10:00:00"),
        ("./s3:/x", "{here}/s3:/x"),
        ("/data/a://b", "/data/a:/b"),
        ("s3/x", "{here}/s3/x"),
        ("é [1]/x y", "{here}/é [1]/x y"),
        ("file:///data/x", "/data/x"),
    ],
)
def test_a_folder_may_have_any_name_that_is_not_an_address(
    address: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.chdir(tmp_path)
    assert Store(address).root == path.format(home="/home/somebody", here=tmp_path.resolve())


def test_a_misspelt_address_is_refused_by_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--plan", "--results", "s3:/bucket/x"]) == 2
    assert sweep.status.main(["s3:/bucket/x"]) == 2
    assert sweep.compact.main(["s3:/bucket/x"]) == 2
    assert report.main(["s3:/bucket/x", "-o", str(tmp_path / "report.html")]) == 2
    said = capsys.readouterr().err
    assert said.count("did you mean s3://bucket/x?") == said.count("\n") == 4


def test_a_long_wait_for_the_store_is_reported_with_its_reason(disk: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    said = list[str]()
    monkeypatch.setattr(waiting, "say", said.append)
    monkeypatch.setattr(waiting, "FIRST_AFTER_S", 1.0)
    monkeypatch.setattr(waiting, "_LOOK_S", 0.05)
    monkeypatch.setattr(waiting, "_watcher", None)
    monkeypatch.setattr(Store, "_write", full)
    with pytest.raises(StoreError):
        Store(disk.uri, patience_s=4.0).write("x", b"")
    assert said[0] == (
        f"waiting for {disk.uri} (to write x): [Errno 28] No space left on device; retrying for at most 4 s; "
        "Ctrl-C ends the sweep, and what is done is kept"
    )


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match=r"ftp://x"):
        Store("ftp://x/y")


def test_a_new_folder_is_empty(store: Store) -> None:
    assert store.study() is None
    assert store.plan() == []
    assert store.runs(["run_id"]) == []


def test_a_file_can_be_deleted_twice(store: Store) -> None:
    store.write("runs/a", b"x")
    store.write("runs/b", b"x")
    store.delete("runs/a")
    store.delete("runs/a")
    store.delete("never/was")
    assert files(store) == ["runs/b"]
    assert store.read("runs/a") is None


@pytest.mark.parametrize(
    "address",
    [
        "s3://AKIAKEY:hidden@bucket/x",
        "s3://AKIAKEY:hid/den@bucket/x",
        "s3://bucket/x?scheme=http&access_key=AKIAKEY&secret_key=hidden",
        "s3://bucket/x?%73ecret_key=hidden",
        "s3://bucket/x?endpoint_override=AKIAKEY:hidden@127.0.0.1:9000",
        "s3://bucket/x?session_token=hidden",
        "gs://user:hidden@bucket/x",
        "gs://bucket/x?access_token=hidden",
    ],
)
def test_credentials_in_an_address_are_refused_and_not_repeated(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["--results", address]) == 2
    assert sweep.status.main([address]) == 2
    assert report.main([address, "-o", str(tmp_path / "report.html")]) == 2
    said = "".join(capsys.readouterr())
    assert said.count("must not hold credentials") == said.count("\n") == 3
    assert "hid" not in said
    assert "AKIAKEY" not in said


@pytest.mark.parametrize(
    "address", ["s3://", "s3://bucket/x?colour=red", "s3://bucket/a b", "gs://bucket/x?a=b", "nfs://x"]
)
def test_an_address_with_a_slip_is_one_line_that_names_it(address: str) -> None:
    with pytest.raises(InputError) as refusal:
        Store(address)
    assert address in str(refusal.value)
    assert "\n" not in str(refusal.value)


def in_seconds(limit: float, words: list[str]) -> None:
    started = time.monotonic()
    assert run_command(words) == 2
    assert sweep.status.main([words[1]]) == 2
    assert time.monotonic() - started < limit


def test_a_missing_bucket_is_reported_at_once(s3: str, capsys: pytest.CaptureFixture[str]) -> None:
    in_seconds(10, ["--results", s3.replace("s3://bucket", "s3://no-bucket")])
    said = capsys.readouterr().err
    assert said.count("there is no bucket of that name") == said.count("\n") == 2


def ask_for_rights(s3_server: str, after: str) -> None:
    """Make the server check rights from now on (`after` is "0") or never ("inf")."""
    address, kind = f"http://{s3_server}/moto-api/reset-auth", {"Content-Type": "text/plain"}
    with urllib.request.urlopen(urllib.request.Request(address, after.encode(), kind)) as answer:
        assert answer.status == 200


@pytest.fixture
def nobody(s3_server: str) -> Iterator[None]:
    """The server grants no rights to anyone."""
    ask_for_rights(s3_server, "0")
    yield
    ask_for_rights(s3_server, "inf")


@pytest.fixture
def reader(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Credentials of a user who may read everything and write nothing."""
    iam = boto3.client("iam", endpoint_url=f"http://{s3_server}", region_name="us-east-1")
    iam.create_user(UserName="reader")
    rights = {"Effect": "Allow", "Action": ["s3:Get*", "s3:List*", "s3:Head*"], "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rights]})
    iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=policy)
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    ask_for_rights(s3_server, "0")
    yield
    ask_for_rights(s3_server, "inf")


def test_a_read_only_bucket_is_refused_before_anything_is_done(
    s3: str, reader: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Store(s3).names("") == []
    assert run_command(["--results", s3]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "ACCESS_DENIED" in said.err
    assert said.out == ""


def test_a_read_only_disk_is_refused_before_anything_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        assert run_command(["--results", str(disk / "results")]) == 2
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
    assert capsys.readouterr().err == f"error: results '{disk}/results': nothing may be written in '{disk}'\n"


def test_asking_for_the_right_to_write_leaves_nothing(store: Store) -> None:
    store.require_right_to_write()
    assert store.infos("") == []


def test_a_bucket_without_rights_is_reported_at_once(s3: str, nobody: None, capsys: pytest.CaptureFixture[str]) -> None:
    in_seconds(10, ["--results", s3])
    said = capsys.readouterr().err
    assert said.count("ACCESS_DENIED") == said.count("\n") == 2
    started = time.monotonic()
    with pytest.raises(StoreError, match="cannot write x"):
        Store(s3, patience_s=60).write("x", b"")
    assert time.monotonic() - started < 10


def test_a_folder_that_cannot_be_made_is_reported_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_bytes(b"")
    in_seconds(10, ["--results", str(tmp_path / "file" / "results")])
    said = capsys.readouterr().err
    assert said.count("error: results") == said.count("\n") == 2


def test_a_temporary_outage_of_the_store_loses_nothing(s3: str, s3_server: str) -> None:
    with Gate(s3_server) as gate, ThreadPoolExecutor() as threads:
        address = s3.replace(s3_server, gate.address)
        patient, hasty = Store(address, patience_s=60), Store(address)
        patient.write_run(row("before"))
        gate.state = "drop"
        writes = [threads.submit(patient.write_run, row(run_id)) for run_id in "abc"]
        with pytest.raises(StoreError, match="cannot write late"):
            hasty.write("late", b"x")
        gate.state = "refuse"
        time.sleep(3)
        assert not any(write.done() for write in writes)
        gate.state = "open"
        for write in writes:
            write.result(timeout=60)
    assert Store(s3).ended() == {"before", "a", "b", "c"}
    assert len(Store(s3).runs(["run_id"])) == 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_an_error_and_leaves_no_half_file(small_disk: Path) -> None:
    store = Store(str(small_disk))
    written = []

    def fill() -> None:
        for number in range(100):
            store.write_run(row(str(number)))
            written.append(f"runs/{number}.parquet")

    with pytest.raises(StoreError, match="No space left"):
        fill()
    assert 10 < len(written) < 100
    assert files(store) == sorted(written)
    assert len(store.runs(["run_id"])) == len(written)


def test_retries_outlast_a_full_disk(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(1_000_000))
    store = Store(str(small_disk), patience_s=60)
    threading.Timer(2, os.remove, [small_disk / "ballast"]).start()
    started = time.monotonic()
    store.write_run(row("a"))
    store.write("large", bytes(500_000))
    assert 1.5 < time.monotonic() - started < 50
    assert files(store) == ["large", "runs/a.parquet"]
