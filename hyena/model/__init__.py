"""The network: sizes, blocks, classifier and language model, and stacks of seeds. Open `hyenadna.py` first."""

#: What other rooms may import.
__all__ = ["config", "hyenadna", "stacked"]
