"""Measurements that go wrong in every way, for `test_gpu_session.py`; one leaves a process of its own behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from typing import Any

from benchmarks.gpu.session import Measurement, NotHereError, Setting, WrongError


def measurements(setting: Setting) -> list[Measurement]:
    works = (good, raises, dies, hangs, wrong, absent, warns, spoils, last)
    return [Measurement(work.__name__, 3 if work is hangs else 20, work) for work in works]


def good(setting: Setting) -> dict[str, Any]:
    return {"line": f"on {setting.device}", "pid": os.getpid()}


def raises(setting: Setting) -> dict[str, Any]:
    raise ValueError("no such kernel")


def dies(setting: Setting) -> dict[str, Any]:
    os._exit(7)


def hangs(setting: Setting) -> dict[str, Any]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(f"child {child.pid}", flush=True)
    time.sleep(600)
    return {}


def wrong(setting: Setting) -> dict[str, Any]:
    raise WrongError("off by 3", {"error": 3})


def absent(setting: Setting) -> dict[str, Any]:
    raise NotHereError("no Triton")


def spoils(setting: Setting) -> dict[str, Any]:
    return {"pid": os.getpid(), "spoilt": True}


def last(setting: Setting) -> dict[str, Any]:
    return {"pid": os.getpid()}


def warns(setting: Setting) -> dict[str, Any]:
    warnings.warn("FFTs instead", stacklevel=1)
    return {"pid": os.getpid()}
