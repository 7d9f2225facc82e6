"""Files of tensors into a model and out of it, without running what is in them. Open `checkpoint.py` first."""

#: What other rooms may import.
__all__ = ["checkpoint", "classifiers", "hub", "tensor_files"]
