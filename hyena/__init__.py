"""The science: HyenaDNA, its data and its training, in plain PyTorch. Independent of Ray and of sweeps.

Axis letters, here and in every einops pattern:

    B  batch, sequences            L  length, positions
    D  d_model, channels           C  classes
    H  d_inner, channels of MLP    S  seeds of a stack

Rooms, from the bottom up: none imports one that comes later in this list. Each names its doors, the modules that others
may import, in its `__init__.py`. Open `model/hyenadna.py` first.

    errors, ranges, randomness, device   used everywhere: InputError, ranges of numbers, random streams, CPU or GPU
    system/        the machine: cores, paths, files, locks, the terminal
    convolution/   the long convolution and the gates around it
    model/         the network on one page, and its sizes
    data/          data sets and genomes as tokens
    leakage/       overlap between test and training sets
    weights/       loading and saving of weights
    training/      from tokens to scores, and from a genome to weights
    cost/          time and memory of a run before it runs
    pretrain       the command `python -m hyena.pretrain`
"""
