"""All that is to be measured on a GPU, in four parts of at most nine minutes: `python -m benchmarks.gpu`.

`session.py` runs a part's measurements one after another, each in its time box, and writes each where it is kept the
moment it is known. `correctness.py` is part A, `speed.py` B, `training.py` C and `sweeping.py` D. All of it runs on a
CPU, too (`--device cpu --tiny`), so that no minute of a GPU is lost to a slip of the pen. Open `session.py` first.
"""
