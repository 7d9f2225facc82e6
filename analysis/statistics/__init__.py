"""Which runs are compared, estimates and their intervals, verdicts, robustness; no chart. Open `estimates.py` first.

pairs.py -> contrasts.py -> growth.py, datasets_as_sample.py -> estimates.py -> verdicts.py           the main line
spread.py, variance_parts.py                                  the variances of contrasts
effect.py, multiplicity.py, pretraining_spread.py             the record; families and looks; the choice of weights
robustness.py, failures.py, example_tests.py, new_test_sequences.py, power.py, training_share.py
                                                              other assumptions, samples and plans
curves.py, leakage.py, run_tables.py                          tables of what was recorded
"""

#: What other rooms may import.
__all__ = [
    "curves",
    "effect",
    "estimates",
    "example_tests",
    "leakage",
    "new_test_sequences",
    "pairs",
    "power",
    "robustness",
    "run_tables",
    "training_share",
    "verdicts",
]
