"""The installed commands that need optional packages: each checks its extra before it imports them. Next: `run.py`.

`hyenadna-status`, `hyenadna-compact` and `hyenadna-report` call `main` of their modules, which import none of these
packages at the top.
"""

from __future__ import annotations

from hyena.system.extras import exit_without_extra


def run() -> int:
    """`hyenadna-sweep`: the same as `python -m sweep.run`."""
    exit_without_extra("sweep")
    from sweep.run import main

    return main()


def pretrain() -> int:
    """`hyenadna-pretrain`: the same as `python -m hyena.pretrain`."""
    exit_without_extra("train")
    from hyena.pretrain import main

    return main()


def leakage() -> int:
    """`hyenadna-leakage`: the same as `python -m hyena.leakage`."""
    exit_without_extra("train")
    from hyena.leakage.__main__ import main

    return main()
