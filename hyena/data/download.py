"""Downloads of official data sets, by the genomic_benchmarks package in a child process. Next: `datasets.py`.

By itself the package downloads straight into its cache folder, without a time limit, and takes any folder of the right
name for a whole data set. Here it downloads into a temporary folder beside the target; the result is checked and then
renamed to the target. One process at a time downloads a data set, while others wait for it. A stalled transfer is
ended, and transient failures are retried.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hyena.errors import InputError
from hyena.system.waiting import locked

MIRROR_VARIABLE = "GENOMIC_BENCHMARKS_URL"
"""Environment variable: the address of another server, which holds the archives as URL/files/NAME_v0.zip."""
WAITS_S = (2.0, 8.0, 32.0)  # before each retry
STALL_S = 60.0  # without new data
START_S = 60.0  # in addition, for the import of the package and the first answer of the server
_POLL_S = 0.2
_SAY_S = {True: 1.0, False: 15.0}  # seconds between two lines of progress, on a terminal and elsewhere
_FINAL = 3  # the child's exit code for a failure that a retry would not change

_CHILD = f"""
import sys, urllib.error, urllib.request
from pathlib import Path
from genomic_benchmarks.loc2seq.cloud_caching import CLOUD_CACHE, download_from_cloud_cache
name, folder, address = sys.argv[1:]

retrieve = urllib.request.urlretrieve
def with_size(url, target):  # the package sets no progress callback, which is told the size
    return retrieve(url, target, lambda blocks, _, size: blocks or (Path(folder) / "size").write_text(str(size)))
urllib.request.urlretrieve = with_size

try:
    download_from_cloud_cache((name, 0), Path(folder) / name, {{(name, 0): address or CLOUD_CACHE[name, 0]}})
except urllib.error.HTTPError as error:
    print(f"the server answered {{error.code}} {{error.reason}} for {{error.url}}", file=sys.stderr)
    sys.exit({_FINAL} if 400 <= error.code < 500 and error.code not in (408, 425, 429) else 1)
except Exception as error:
    print(f"{{type(error).__name__}}: {{error}}", file=sys.stderr)
    sys.exit(1)
"""


class DownloadError(InputError):
    """A data set that could not be downloaded; the message says how to provide it by hand."""


def download(name: str, data_dir: Path, check: Callable[[Path], None]) -> Path:
    """Download an official data set into the folder `data_dir/name`, unless another process has just done so.

    Args:
        check: called with the folder before it is renamed to the target; raises InputError to reject it.

    Returns:
        The folder.

    Raises:
        DownloadError: the folder is not writable, the attempts failed, or `check` rejected the result.
    """
    target = data_dir / name
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        held = locked(data_dir / f".{name}.lock", f"downloading data set {name!r}")
    except OSError as error:
        raise DownloadError(f"data set {name!r}: cannot be downloaded, {data_dir} is not writable ({error})") from None
    with held:
        if target.exists():
            return target
        for leftover in data_dir.glob(f".{name}.part-*"):  # left by a killed process, since this one holds the lock
            shutil.rmtree(leftover, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{name}.part-", dir=data_dir))
        try:
            _fetch(name, temporary)
            try:
                check(temporary / name)
            except InputError as error:
                raise DownloadError(
                    f"data set {name!r}: the download is not the official data set: "
                    + str(error).replace(f"{temporary}{os.sep}", "")
                ) from None
            (temporary / name).rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def _fetch(name: str, temporary: Path) -> None:
    """Download into `temporary/name`, with retries after transient failures."""
    reasons = []
    for attempt in range(len(WAITS_S) + 1):
        code, reason = _attempt(name, temporary)
        if code == 0:
            return
        reasons.append(reason)
        shutil.rmtree(temporary / name, ignore_errors=True)
        if code == _FINAL or attempt == len(WAITS_S):
            break
        _say(f"{name}: {reason}; retrying in {WAITS_S[attempt]:g} s")
        time.sleep(WAITS_S[attempt])
    raise DownloadError(
        f"data set {name!r}: not downloaded after {len(reasons)} attempt{'s' * (len(reasons) > 1)} ({reasons[-1]}); "
        f"check the connection, or put {name}_v0.zip into {temporary.parent} by hand"
    )


def _attempt(name: str, temporary: Path) -> tuple[int, str]:
    """Exit code and reason of one attempt, by the package in a child process that this one watches."""
    archive, log = temporary / f"{name}.zip", temporary / "log"
    archive.unlink(missing_ok=True)
    command = [sys.executable, "-c", _CHILD, name, str(temporary), os.environ.get(MIRROR_VARIABLE, "").rstrip("/")]
    with log.open("wb") as output:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        if not _watch(child, name, archive):
            return 1, f"no data for {STALL_S:g} s"
    finally:
        child.kill()
        child.wait()
    lines = log.read_text(errors="replace").strip().splitlines()
    return child.returncode, lines[-1] if lines else f"ended with code {child.returncode}"


def _watch(child: subprocess.Popen[bytes], name: str, archive: Path) -> bool:
    """Wait for the child and show its progress; False if the archive stopped growing before it was complete."""
    start = last_change = last_said = time.monotonic()
    size, unpacking = 0, False
    while child.poll() is None:
        time.sleep(_POLL_S)
        now = time.monotonic()
        new_size = archive.stat().st_size if archive.exists() else 0
        if new_size != size:
            size, last_change = new_size, now
        unpacking = unpacking or (archive.parent / name).exists()
        if not unpacking and now - last_change > STALL_S + (START_S if size == 0 else 0):
            return False
        if now - last_said > _SAY_S[sys.stderr.isatty()]:
            last_said = now
            doing = "unpacking" if unpacking else _progress(size, _whole_size(archive), now - start)
            _say(f"{name}: {doing}", passing=True)
    _say(f"{name}: downloaded in {time.monotonic() - start:.0f} s" if child.returncode == 0 else "")
    return True


def _whole_size(archive: Path) -> int:
    """Size of the archive in bytes as announced by the server; 0 if it has announced none (yet)."""
    try:
        return max(int((archive.parent / "size").read_text()), 0)
    except (OSError, ValueError):
        return 0


def _progress(size: int, whole: int, seconds: float) -> str:
    """A progress bar if the size of the archive is known, else the bytes received; and the speed."""
    speed = f"{size / 1e6 / max(seconds, 1e-9):.1f} MB/s"
    if not whole:
        return f"{size / 1e6:.1f} MB, {speed}"
    share = min(size / whole, 1.0)
    filled = round(20 * share)
    return f"{'█' * filled}{'░' * (20 - filled)} {share:.0%} of {whole / 1e6:.1f} MB, {speed}"


def _say(text: str, passing: bool = False) -> None:
    """Write a line to standard error; on a terminal, the next line overwrites a passing one."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="" if passing or not text else "\n", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)
