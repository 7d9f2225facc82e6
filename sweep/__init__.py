"""The engine: from a study file to Parquet.

    study.py       a TOML file, validated
    trials.py      the runs that it asks for
    run.py         what the store lacks of them
    tuning.py      on Ray Tune
    ray_session.py Ray, started here or joined
    trainable.py   one run on one worker
    store.py       its rows
    heartbeat.py   that a sweep is at work there
    compact.py     many small files put into few

This file stays empty of imports: `analysis` reads `sweep.schema` and `sweep.layout`, and loads neither torch nor Ray.
"""
