"""Retries of storage operations that fail for a while: a full disk, a bucket that throttles requests.

Next: `sweep/results_folder.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from hyena.errors import whole_message
from hyena.system.waiting import waiting_for

T = TypeVar("T")

#: How to end a sweep that is waiting.
ENDING = "Ctrl-C ends the sweep, and what is done is kept"
LONGEST_WAIT_S = 30.0
#: Errors that another attempt would not change: no such file, or no right to it.
_FINAL = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
_REFUSED = re.compile(
    r"ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|SIGNATURE|NO_SUCH_UPLOAD"
    r"|Bucket '.*' not found|PERMISSION_DENIED|PermissionDenied|UNAUTHENTICATED"
    r"|[Ii]s a directory"
)


class StoreError(OSError):
    """The store did not answer, or refused, until the time for retries was over."""


class RefusedError(StoreError):
    """The store refused for a reason that a retry would not change: no such bucket, or no right to it."""


def with_retries(operation: Callable[[], T], what: str, uri: str, patience_s: float) -> T:
    """Call `operation`, and again with growing waits while it fails with an error that may be transient.

    Args:
        what: completes "cannot …": "read study.json".
        uri: address of the results folder, for messages.
        patience_s: seconds until the last attempt; 0 for a single attempt.

    Raises StoreError (RefusedError where a retry would not help), or the FileNotFoundError, NotADirectoryError,
    IsADirectoryError or PermissionError of the operation.
    """
    place = f"{uri} (to {what})"

    def note(state: RetryCallState) -> None:
        reason = state.outcome.exception() if state.outcome else None
        wait.what = f"{place}: {whole_message(reason)}; retrying for at most {patience_s:g} s"

    try:
        with waiting_for(place, ENDING) as wait:
            attempts = Retrying(
                retry=retry_if_exception(_is_transient),
                wait=wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT_S),
                stop=stop_after_delay(patience_s),
                before_sleep=note,
                reraise=True,
            )
            return attempts(operation)
    except _FINAL:
        raise
    except OSError as error:
        kind = StoreError if _is_transient(error) else RefusedError
        raise kind(f"{uri}: cannot {what}: {whole_message(error)}") from error


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, OSError) and not isinstance(error, _FINAL) and not _REFUSED.search(str(error))
