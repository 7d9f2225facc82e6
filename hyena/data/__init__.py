"""Data sets and genomes as tokens: found, downloaded, read, checked, cached. Open `datasets.py` first."""

#: What other rooms may import.
__all__ = ["batches", "catalogue", "corpus", "datasets", "intervals", "sequences", "subsets", "synthetic", "tokenizer"]
