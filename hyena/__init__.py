"""The science: HyenaDNA, its data and its training, in plain PyTorch. Knows neither Ray nor sweeps.

Axis letters, here and in every einops pattern:

    B  batch, sequences            L  length, positions
    D  d_model, channels           C  classes
    H  d_inner, channels of MLP    S  seeds of a stack

Rooms, from the bottom up; each names its doors, the modules that others may import:

    errors, ranges, randomness, device   used everywhere: InputError, ranges of numbers, random streams, CPU or GPU
    system/        the machine: cores, terminal, paths, text files
    convolution/   the long convolution, in several ways
    model/         the network on one page (`model/hyenadna.py`: begin here)
    data/          from files to tokens
    leakage/       how much of a test set stands in the training set
    weights/       files of tensors into a model and out of it
    training/      from tokens to scores, from a genome to weights
    cost/          time and memory of a run before it runs
    pretrain       the command `python -m hyena.pretrain`
"""
