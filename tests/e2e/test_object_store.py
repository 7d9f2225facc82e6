"""A whole study on S3 through the command lines: run, status, report, compaction, and nothing run again."""

import subprocess
import sys
from pathlib import Path

import pytest
from pyarrow import fs

from sweep.layout import opened
from sweep.store import Store
from tests.support.places import ROOT
from tests.support.sweeps import STUDY

SECRET = "a-very-secret-key"  # as in the environment, see the fixture s3_server


def call(module: str, *words: object) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", module, *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert ended.returncode == 0, ended.stderr
    assert SECRET not in ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_study_on_s3_is_run_once_read_from_there_and_compacted(s3: str, tmp_path: Path) -> None:
    study, page = tmp_path / "small.toml", tmp_path / "report.html"
    study.write_text(STUDY)
    assert "4 planned, 0 done already" in call("sweep.run", study, "--results", s3, "--plan")
    assert "4 of 4 runs done" in call("sweep.run", study, "--results", s3)

    store = Store(s3)
    rows = {row["run_id"]: row for row in store.runs(["run_id", "status", "test_accuracy", "finished_at"])}
    assert {row["status"] for row in rows.values()} == {"done"}
    assert store.names("checkpoints") == []
    assert len(store.names("epochs")) == len(store.names("predictions")) == 4
    assert "4/4 done, 0 failed, 0 to go" in call("sweep.status", s3)
    before = call("analysis.report", s3, "-o", page).splitlines()[0]
    assert "4 runs of 4 done" in page.read_text()

    assert "4 runs merged into 1 parts, 12 files deleted" in call("sweep.compact", s3)
    assert "4/4 done, 0 failed, 0 to go" in call("sweep.status", s3)
    assert call("analysis.report", s3, "-o", page).splitlines()[0] == before

    assert "6 of 6 runs done" in call("sweep.run", study, "--results", s3, "--set", "grid.seeds=[1,2,3]")
    assert len(store.names("runs")) == 2
    again = {row["run_id"]: row for row in store.runs(["run_id", "status", "test_accuracy", "finished_at"])}
    assert {run_id: again[run_id] for run_id in rows} == rows

    _, filesystem, root = opened(s3)
    stored = filesystem.get_file_info(fs.FileSelector(root, recursive=True))
    contents = [filesystem.open_input_stream(one.path).read() for one in stored if one.type == fs.FileType.File]
    assert len(contents) > 10
    assert not [data for data in (*contents, page.read_bytes()) if SECRET.encode() in data]
