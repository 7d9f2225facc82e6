"""Sphinx: the pages of this folder, and an API reference from the docstrings. `make docs` builds both."""

import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the reference is that of this checkout

project = "hyenadna-sweep"
author = "The hyenadna-sweep maintainers"
release = importlib.metadata.version(project)
extensions = ["sphinx.ext.apidoc", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser"]
html_theme = "furo"
html_title = f"{project} {release}"
exclude_patterns = ["_build"]

apidoc_modules = [
    {
        "path": f"../{package}",
        "destination": f"api/{package}",
        "exclude_patterns": ["**/__main__.py"],
        "separate_modules": True,
        "module_first": True,
    }
    for package in ("hyena", "sweep", "analysis")
]
autodoc_mock_imports = ["triton"]  # its kernels are compiled when they are imported
autodoc_inherit_docstrings = False  # those of torch.nn.Module say nothing of ours
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
default_role = "code"  # one backtick is code, as in Markdown
napoleon_numpy_docstring = False
napoleon_use_ivar = True
myst_heading_anchors = 3  # links to headings
suppress_warnings = ["ref.python"]  # names in signatures that several modules have

_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):$")


def plain_text_to_rst(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Prepare a docstring of plain text: indented blocks are literal ones, and neither * nor | is markup."""
    written: list[str] = []
    in_section = in_block = False
    for line in lines:
        indented = line.startswith("    ")
        if line and not indented:
            in_section = _SECTION.match(line) is not None
        if indented and not in_section and not in_block:
            written += ["", "::", ""]
            in_block = True
        elif in_block and line and not indented:
            written.append("")
            in_block = False
        written.append(line if in_block or line.startswith(">>>") else _escaped(line))
    lines[:] = written


def _escaped(line: str) -> str:
    """Backslashes before * and | outside backticks."""
    parts = line.split("`")
    return "`".join(part if i % 2 else re.sub(r"([*|])", r"\\\1", part) for i, part in enumerate(parts))


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", plain_text_to_rst, priority=400)  # before napoleon's, at 500
