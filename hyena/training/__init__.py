"""Training: from tokens to scores, and from a genome to weights. Open `recipe.py`, then `loop.py`."""

#: What other rooms may import.
__all__ = [
    "cuda_graphs",
    "loop",
    "metrics",
    "optimisation",
    "pretraining",
    "pretraining_folder",
    "recipe",
    "resumption",
    "seed_state",
    "stacked_run",
]
