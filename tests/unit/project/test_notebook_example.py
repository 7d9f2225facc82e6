"""The examples in docs/notebook.md run as they are printed."""

import os
import re
import subprocess
import sys

import pytest

from tests.support.places import ROOT
from tests.support.synthetic_results import Truth, write_results

DOCUMENT = ROOT / "docs" / "notebook.md"
BLOCKS = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.S)


def test_every_block_about_results_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_results(tmp_path / "results" / "quickstart", Truth(seeds=(1, 2), epochs=(2,)), predictions=False)
    assert len(BLOCKS) == 4
    names: dict = {}
    for block in BLOCKS[1:]:
        exec(block, names)  # the document is the code under test
    assert names["found"].growth.effect is not None


@pytest.mark.slow
def test_the_block_about_a_sweep_runs(tmp_path):
    code = f"{BLOCKS[0]}\nprint(plan.to_do, summary.planned, summary.done, len(summary.failed))"
    words = [sys.executable, "-c", code]
    ended = subprocess.run(words, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
                           text=True, timeout=280)  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "8 8 8 0"
    assert (tmp_path / "results" / "quickstart" / "runs").is_dir()
