"""Pairs, contrasts, estimates and their intervals; no sentence and no chart. Open `estimates.py` first."""

#: What other rooms may import.
__all__ = ["contrasts", "curves", "estimates", "pairs", "power", "robustness"]
