"""The example of docs/notebook.md runs as it stands."""

import re

from tests.support.places import ROOT
from tests.support.synthetic_results import Truth, write_results

DOCUMENT = ROOT / "docs" / "notebook.md"


def test_every_block_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_results(tmp_path / "results" / "quickstart", Truth(seeds=(1, 2), epochs=(2,)), predictions=False)
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 3
    names: dict = {}
    for block in blocks:
        exec(block, names)  # the document is the code under test
    assert names["found"].growth.effect is not None
