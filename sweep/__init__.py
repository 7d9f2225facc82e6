"""The engine: from a study file to Parquet.

    study.py       a TOML file, validated
    trials.py      the runs that it asks for
    run.py         what the store lacks of them, on Ray Tune
    trainable.py   one run on one worker
    store.py       its rows

This file stays empty of imports: `analysis` reads `sweep.schema` and must load neither torch nor Ray.
"""
