"""Environment variables that Ray and Tune read when they are imported or started. Importing this module sets them.

It must be imported before Ray: `api.py` does so. A variable that the user has set is left as it is.
"""

import os

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # the display reports a worker's death in one line
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the sweep at once: everything worth keeping is in the store
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000000",
    "TUNE_MAX_PENDING_TRIALS_PG": "200",  # so that a cluster grows at once, as it does with Tune's own search
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # nothing resumes from Tune's state, so it need not be written
}
for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value)
