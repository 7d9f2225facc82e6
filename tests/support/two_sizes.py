"""A study of two small sizes on one synthetic task, to which tests add what they need."""

TWO_SIZES = """
[grid]
models = ["small", "large"]
datasets = ["synthetic_tracts"]
seeds = [1]
epochs = [1]
[models.small]
d_model = 8
n_layer = 1
l_max = 130
[models.large]
d_model = 8
n_layer = 2
l_max = 130
"""
