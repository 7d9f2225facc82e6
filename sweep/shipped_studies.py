"""The studies that ship with the project: in `studies/` of a checkout, or inside the installed package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
#: The folder of the shipped studies.
STUDIES = next((folder for folder in (_PACKAGE / "studies", _PACKAGE.parent / "studies") if folder.is_dir()), _PACKAGE)
#: A study that needs no download.
QUICKSTART = STUDIES / "quickstart.toml"


def study_file(asked: str) -> Path:
    """The file of a study: `asked` itself if it exists, else the shipped study of that name.

    A shipped study can be named `benchmark`, `benchmark.toml` or `studies/benchmark.toml` in any working directory. A
    name that is neither is returned unchanged; reading it then raises the error.
    """
    path = Path(asked)
    shipped = STUDIES / f"{path.name.removesuffix('.toml')}.toml"
    is_name = path.parent in (Path(), Path("studies"))
    return shipped if is_name and not path.is_file() and shipped.is_file() else path
