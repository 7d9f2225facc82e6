"""Which runs are compared, estimates and their intervals, verdicts, robustness; no chart. Open `estimates.py` first.

pairs.py  ->  contrasts.py, estimates.py  ->  verdicts.py     the main line
robustness.py, example_tests.py, power.py, training_share.py  other assumptions, samples and plans
curves.py, leakage.py, run_tables.py                          tables of what was recorded
"""

#: What other rooms may import.
__all__ = [
    "contrasts",
    "curves",
    "estimates",
    "example_tests",
    "leakage",
    "pairs",
    "power",
    "robustness",
    "run_tables",
    "training_share",
    "verdicts",
]
