"""The HTML page: sections, charts, wording, and the frame around them. Open `build.py` first."""

#: What other rooms may import.
__all__ = ["build", "charts", "output"]
