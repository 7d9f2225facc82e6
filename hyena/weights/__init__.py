"""Tensors from files into a model and back, without running what a file holds. Open `checkpoint.py` first."""

#: What other rooms may import.
__all__ = ["checkpoint", "classifiers", "hub", "tensor_files"]
