"""The studies that come with the project: in `studies/` of a checkout, inside this package where it is installed."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
#: The folder of the shipped studies.
STUDIES = next((folder for folder in (_PACKAGE / "studies", _PACKAGE.parent / "studies") if folder.is_dir()), _PACKAGE)
#: The study that needs no download.
QUICKSTART = STUDIES / "quickstart.toml"


def study_file(asked: str) -> Path:
    """The file of a study: `asked` itself where there is one, else a shipped study of that name.

    A shipped study goes by `benchmark`, `benchmark.toml` and `studies/benchmark.toml`, in any folder. What is neither
    comes back as it is, for whoever reads it to name.
    """
    path = Path(asked)
    shipped = STUDIES / f"{path.name.removesuffix('.toml')}.toml"
    is_name = path.parent in (Path(), Path("studies"))
    return shipped if is_name and not path.is_file() and shipped.is_file() else path
