"""How much of a test set stands in its training set, and a cut where nothing does. Open `audit.py` first."""

#: What other rooms may import.
__all__ = ["audit", "regroup"]
