"""Overlap between test and training sets: the audit, and splits without overlap. Open `audit.py` first."""

#: What other rooms may import.
__all__ = ["audit", "regroup"]
