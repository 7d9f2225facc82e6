"""The network: sizes, blocks, the classifier, and several seeds as one stack. Open `hyenadna.py` first."""

#: What other rooms may import.
__all__ = ["config", "hyenadna", "stacked"]
