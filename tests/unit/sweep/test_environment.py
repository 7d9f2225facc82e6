"""The commit of a row is that of the running code, or None: never that of a repository around it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweep.environment import commit_of
from tests.support.places import ROOT

PYPROJECT = '[project]\nname = "hyenadna-sweep"\n'


@pytest.fixture(autouse=True)
def _plain_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run git without user configuration."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    command = ["git", *who, "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def checkout(folder: Path, pyproject: str = PYPROJECT) -> Path:
    """Create a repository with one commit of a project; returns a module in it."""
    module = folder / "sweep" / "provenance.py"
    module.parent.mkdir(parents=True)
    module.write_text("")
    (folder / "pyproject.toml").write_text(pyproject)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "All of it")
    return module.resolve()


def test_a_checkout_names_its_commit_and_whether_it_was_changed(tmp_path: Path) -> None:
    module = checkout(tmp_path / "ours")
    head = git(tmp_path / "ours", "rev-parse", "HEAD")
    assert commit_of(module) == head
    module.write_text("changed = True\n")
    assert commit_of(module) == f"{head}-dirty"
    git(tmp_path / "ours", "commit", "-q", "-am", "A change")
    git(tmp_path / "ours", "tag", "v1")
    assert commit_of(module) == git(tmp_path / "ours", "rev-parse", "HEAD")


def test_a_worktree_names_its_own_commit(tmp_path: Path) -> None:
    first = checkout(tmp_path / "ours")
    git(tmp_path / "ours", "worktree", "add", "-q", str(tmp_path / "beside"))
    (tmp_path / "beside" / "more").write_text("")
    git(tmp_path / "beside", "add", "-A")
    git(tmp_path / "beside", "commit", "-q", "-m", "More")
    found = commit_of((tmp_path / "beside" / "sweep" / "provenance.py").resolve())
    assert found == git(tmp_path / "beside", "rev-parse", "HEAD")
    assert found != commit_of(first)


def installed(site: Path) -> Path:
    """The package's file in the site-packages of an environment."""
    module = site / "sweep" / "provenance.py"
    module.parent.mkdir(parents=True)
    module.write_text("")
    return module.resolve()


@pytest.mark.parametrize("tracked", [True, False])
def test_an_installation_inside_another_repository_does_not_take_its_commit(tmp_path: Path, tracked: bool) -> None:
    checkout(tmp_path / "theirs", '[project]\nname = "theirs"\n')
    module = installed(tmp_path / "theirs" / ".venv" / "lib" / "site-packages")
    if tracked:
        git(tmp_path / "theirs", "add", "-fA")
        git(tmp_path / "theirs", "commit", "-q", "-m", "With its environment")
    assert commit_of(module) is None


@pytest.mark.parametrize("pyproject", ['[project]\nname = "theirs"\n', "not [ toml", "", "project = 3\n"])
def test_a_repository_of_another_project_is_not_ours(tmp_path: Path, pyproject: str) -> None:
    assert commit_of(checkout(tmp_path / "theirs", pyproject)) is None


def test_a_copy_inside_another_repository_does_not_take_its_commit(tmp_path: Path) -> None:
    checkout(tmp_path / "theirs", '[project]\nname = "theirs"\n')
    copy = installed(tmp_path / "theirs" / "vendored")
    (tmp_path / "theirs" / "vendored" / "pyproject.toml").write_text(PYPROJECT)
    assert commit_of(copy) is None
    git(tmp_path / "theirs", "add", "-A")
    git(tmp_path / "theirs", "commit", "-q", "-m", "A copy")
    assert commit_of(copy) is None


def test_an_untracked_module_has_no_commit(tmp_path: Path) -> None:
    checkout(tmp_path / "ours")
    new = tmp_path / "ours" / "sweep" / "new.py"
    new.write_text("")
    assert commit_of(new.resolve()) is None


@pytest.mark.parametrize("variable", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_CEILING_DIRECTORIES"])
def test_git_variables_of_another_repository_are_ignored(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout(tmp_path / "theirs", '[project]\nname = "theirs"\n')
    module = checkout(tmp_path / "ours")
    head = git(tmp_path / "ours", "rev-parse", "HEAD")
    monkeypatch.setenv(variable, str(tmp_path / "theirs" / (".git" if variable == "GIT_DIR" else "")))
    assert commit_of(module) == head


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
def test_a_checkout_of_another_user_names_its_commit(tmp_path: Path) -> None:
    module = checkout(tmp_path / "ours")
    head = git(tmp_path / "ours", "rev-parse", "HEAD")
    for path in [tmp_path / "ours", *(tmp_path / "ours").rglob("*")]:
        os.chown(path, 12345, 12345)
    refused = subprocess.run(["git", "-C", str(tmp_path / "ours"), "log"], capture_output=True, text=True, check=False)
    assert "dubious ownership" in refused.stderr
    assert commit_of(module) == head


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = checkout(tmp_path / "ours")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(module) is None


@pytest.mark.parametrize(
    ("record", "commit"),
    [
        ({"url": "https://example.org/x.git", "vcs_info": {"vcs": "git", "commit_id": "abc123"}}, "abc123"),
        ({"url": "file:///x", "dir_info": {}}, None),
        (None, None),
        ("{", None),
    ],
)
def test_an_installation_names_the_commit_that_its_installer_recorded(
    record: dict[str, object] | str | None, commit: str | None, tmp_path: Path
) -> None:
    module = installed(tmp_path / "site")
    metadata = tmp_path / "site" / "hyenadna_sweep-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: hyenadna-sweep\nVersion: 0.1.0\n")
    if record is not None:
        (metadata / "direct_url.json").write_text(record if isinstance(record, str) else json.dumps(record))
    (tmp_path / "elsewhere" / "sweep").mkdir(parents=True)
    (tmp_path / "elsewhere" / "sweep" / "provenance.py").write_text("")
    ask = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        " from sweep.environment import commit_of;"
        " sys.path.insert(0, sys.argv[2]); print([commit_of(Path(path)) for path in sys.argv[3:]])"
    )
    root = ROOT
    other = (tmp_path / "elsewhere" / "sweep" / "provenance.py").resolve()
    words = [str(root), str(tmp_path / "site"), str(module), str(other)]
    said = subprocess.run([sys.executable, "-c", ask, *words], capture_output=True, text=True, check=True).stdout
    assert said.strip() == str([commit, None])
