"""From files to tokens: data sets and genomes, found, checked, cached. Open `datasets.py` first."""

#: What other rooms may import.
__all__ = ["batches", "catalogue", "corpus", "datasets", "sequences", "splits", "synthetic", "tokenizer"]
