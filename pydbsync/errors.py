"""Every error pydbsync raises on purpose, and what the pipeline and the operator do about it.

PydbsyncError
├── ConfigError           exit 2. A key is wrong or a server cannot be reached at start: correct the configuration.
├── SourceError           reconnect with back-off. The broker or the file cannot be read.
│   ├── MessagesGoneError said, and stopped at by `on_gap`. The queue has lost what nobody here has acknowledged.
│   └── BrokenOrderError  stop, exit 5. Messages came back behind newer ones; they are parked, a person must look.
├── DecodeError           park the delivery. It is not a message of Maxwell's data format.
├── PlanError             park the change. It cannot be turned into SQL for the target's table.
│   └── LossyValueError   warn, park or stop (`lossy_values`). Maxwell did not carry the value whole.
├── ApplyError
│   ├── TransientError    roll back, wait, try the same batch again.
│   ├── StructureChanged  plan the batch again. Somebody has altered a table of the target.
│   ├── PermanentError    park the change and all that depends on it; `on_error: stop` stops instead.
│   └── CheckpointConflict  stop, exit 4. Another worker owns this queue; started again, this one stands by.
├── Stopped               exit 0. The operator asked to stop while something was waited for.
├── StopError             stop, exit 3. A policy (`on_error`, `max_parked`, `lossy_values`) says not to go on.
│                         Or the file that is replayed is damaged.
└── OperationError        exit 2. An operator's tool cannot do what was asked of it.
"""

from __future__ import annotations


class PydbsyncError(Exception):
    """The root; its text is one sentence that a person can act on."""

    exit_code = 1

    @property
    def command_exit_code(self) -> int:
        """Of a command that ends with it: 1 is for what one has found, when it has done its work."""
        return 2 if self.exit_code == PydbsyncError.exit_code else self.exit_code


class ConfigError(PydbsyncError):
    """A setting is wrong. `key` is its path, such as `rabbitmq_queue_bind[0].exchange`."""

    exit_code = 2

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(f"{key}: {message}" if key else message)
        self.key = key


class SourceError(PydbsyncError):
    """Deliveries cannot be read; the connection is made anew."""


class MessagesGoneError(SourceError):
    """The queue lacks messages that it must still have."""


class BrokenOrderError(SourceError):
    """Returned deliveries came behind newer ones: a high-water mark would lose them."""

    exit_code = 5


class DecodeError(PydbsyncError):
    """The delivery is not a message of Maxwell's data format, or of the one that the stream has."""

    input_format = "maxwell"
    """The format in which it could not be read."""


class PlanError(PydbsyncError):
    """The change cannot be turned into SQL for the target's table."""

    code = 0
    """The server's error number for the same."""


class RowThereError(PlanError):
    """Another source has a row of this key."""

    code = 1062


class LossyValueError(PlanError):
    """Maxwell is known not to carry this value whole."""


class ApplyError(PydbsyncError):
    """The target refused. `code` is the server's error number, 0 where there is none."""

    def __init__(self, message: str, *, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class TransientError(ApplyError):
    """Trying again later can succeed: deadlock, lost connection, read-only or full target."""


class PermanentError(ApplyError):
    """Trying again gives the same answer: a duplicate value, a value out of range, wrong SQL."""


class StructureChanged(ApplyError):
    """The plans of a batch were made for tables that have been altered since; nothing of it was committed."""


class CheckpointConflict(ApplyError):
    """Another worker has taken the queue over; nothing was committed."""

    exit_code = 4


class Stopped(PydbsyncError):
    """The operator asked to stop; what was not committed comes again."""

    exit_code = 0


class StopError(PydbsyncError):
    """A policy of the operator says to stop here; nothing after this place was applied."""

    exit_code = 3


class OperationError(PydbsyncError):
    """A tool cannot do what it was asked to do."""

    exit_code = 2
