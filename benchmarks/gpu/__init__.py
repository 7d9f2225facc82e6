"""All measurements on a GPU, in four parts of at most nine minutes: `python -m benchmarks.gpu`.

`session.py` runs the measurements of a part one after another, each in its time box, and stores each result at once.
`correctness.py` is part A, `speed.py` B, `training.py` C and `sweeping.py` D. All of it runs on a CPU, too (`--device
cpu --tiny`), so that no GPU time is lost to programming errors. Open `session.py` first.
"""
