"""The long convolution and the gates around it, in several ways with one result. Open `long.py` first."""

#: What other rooms may import.
__all__ = ["gated", "long"]
