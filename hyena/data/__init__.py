"""Data sets and genomes as tokens: found, downloaded, read, checked, cached. Open `datasets.py` first.

tokenizer, sequences, subsets, batches    letters to tokens, packed splits, parts of train, padded batches
datasets, catalogue, download             a data set by name, your own or official
folder_datasets, table_datasets           the readers, with split_files, labelled_rows, parquet_columns, labels,
fasta_datasets                            and examples, what they return
fingerprint, token_cache                  what was read before
corpus, fasta, fasta_tokens, intervals    genomes for pretraining
synthetic                                 the genome and tasks of the embedded study
"""

#: What other rooms may import.
__all__ = ["batches", "catalogue", "corpus", "datasets", "intervals", "sequences", "subsets", "synthetic", "tokenizer"]
