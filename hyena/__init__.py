"""The science: HyenaDNA, its data and its training, in plain PyTorch. Knows neither Ray nor sweeps.

Axis letters, here and in every einops pattern:

    B  batch, sequences            L  length, positions
    D  d_model, channels           C  classes
    H  d_inner, channels of MLP    S  seeds of a stack

Read in this order: `config.py` (sizes), `model.py` (the whole network on one page), `datasets.py` (from files to
tokens), `recipe.py`, `optimisation.py` and `training.py` (from tokens to scores), `stacked.py` (several seeds at
once), `pretraining.py` (from a genome to weights).
"""
