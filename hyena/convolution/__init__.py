"""The long convolution and the gates around it, by three methods with one result. Open `gated.py` first."""

#: What other rooms may import.
__all__ = ["fft", "gated", "toeplitz"]
