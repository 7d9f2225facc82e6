"""The HTML page: sections, charts, wording, and the file that holds them. Open `build.py` first.

Sections (`*_section.py`) are pure functions of `analysis.findings.Findings`: they open no file and read no clock.
"""

#: What other rooms may import.
__all__ = ["build", "charts", "output"]
