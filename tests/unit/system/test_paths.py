"""Paths as users write them: their meaning, and names that cannot be paths."""

import os
import tempfile
from pathlib import Path

import pytest

from hyena.data.datasets import default_data_dir
from hyena.data.token_cache import default_cache_dir
from hyena.errors import InputError
from hyena.system.paths import expanded, home, resolved


def test_a_path_counts_from_the_folder_given_or_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert resolved("a/../b", Path("/data")) == Path("/data/b")
    assert resolved("b") == tmp_path.resolve() / "b"
    assert resolved("/b", Path("/data")) == Path("/b")
    assert expanded("~/b") == Path("/home/somebody/b")
    assert resolved("$HOME/b", Path("/data")) == Path("/data/$HOME/b")


@pytest.mark.parametrize("address", ["s3://bucket/x", "https://host/x.csv", "hf://datasets/a/b", Path("gs://bucket/x")])
def test_an_address_is_not_a_path(address: Path | str) -> None:
    with pytest.raises(InputError, match="found an address; expected a file or folder of this machine"):
        resolved(address, Path("/data"))


@pytest.mark.parametrize("path", ["2024:run/x", "a:b", "./s3:/x", "C:x"])
def test_a_colon_alone_is_not_an_address(path: str) -> None:
    assert resolved(path, Path("/data")) == Path("/data") / path


def test_a_missing_home_folder_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        InputError, match=r"^path '~nobody_of_that_name/x': there is no home folder of the user 'nobody_"
    ):
        resolved("~nobody_of_that_name/x")

    def no_entry(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_entry)
    with pytest.raises(InputError, match=r"^path '~/x': there is no home folder \(set HOME\)$"):
        resolved("~/x")


def test_names_that_no_file_system_accepts_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^path 'a\\x00b': embedded null byte$"):
        resolved("a\0b")
    with pytest.raises(InputError, match=r"^path 'x+\.\.\.x+': file name too long$"):
        resolved("x" * 300, tmp_path)
    (tmp_path / "ring").symlink_to(tmp_path / "ring")
    with pytest.raises(InputError, match=r"^path 'ring/x': symlink loop$"):
        resolved("ring/x", tmp_path)


def test_a_user_without_a_home_folder_has_one_among_the_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert home() == tmp_path / f"hyenadna-sweep-{os.getuid()}"
    assert default_data_dir() == home() / ".genomic_benchmarks"
    assert default_cache_dir() == home() / ".cache" / "hyenadna-sweep" / "tokens"
