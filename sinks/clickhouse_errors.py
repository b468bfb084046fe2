"""What an error of ClickHouse means for the batch: later, never, or a defect.

Codes are those of ClickHouse's ``src/Common/ErrorCodes.cpp``; Vector keeps a like list of codes that no retry can
help (``src/sinks/clickhouse/service.rs``).
"""

from __future__ import annotations

import errno
import os
import re
from typing import Final, Literal

from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

Verdict = Literal["later", "data", "defect"]

LATER_CODES: Final = frozenset(
    {
        3,  # UNEXPECTED_END_OF_FILE: a body that was cut on the way
        74,  # CANNOT_READ_FROM_FILE_DESCRIPTOR
        75,  # CANNOT_WRITE_TO_FILE_DESCRIPTOR
        159,  # TIMEOUT_EXCEEDED
        164,  # READONLY: a replica that is starting, or a user that is being given rights
        201,  # QUOTA_EXCEEDED
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        203,  # NO_FREE_CONNECTION
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        225,  # NO_ZOOKEEPER
        236,  # ABORTED
        241,  # MEMORY_LIMIT_EXCEEDED
        242,  # TABLE_IS_READ_ONLY
        243,  # NOT_ENOUGH_SPACE
        252,  # TOO_MANY_PARTS
        285,  # TOO_FEW_LIVE_REPLICAS
        286,  # UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
        319,  # UNKNOWN_STATUS_OF_INSERT
        394,  # QUERY_WAS_CANCELLED
        425,  # SYSTEM_ERROR
        439,  # CANNOT_SCHEDULE_TASK
        473,  # DEADLOCK_AVOIDED
        745,  # SERVER_OVERLOADED
        999,  # KEEPER_EXCEPTION
    }
)
DATA_CODES: Final = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        26,  # CANNOT_PARSE_QUOTED_STRING
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        33,  # CANNOT_READ_ALL_DATA
        38,  # CANNOT_PARSE_DATE
        41,  # CANNOT_PARSE_DATETIME
        53,  # TYPE_MISMATCH
        69,  # ARGUMENT_OUT_OF_BOUND
        70,  # CANNOT_CONVERT_TYPE
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        128,  # TOO_LARGE_ARRAY_SIZE
        131,  # TOO_LARGE_STRING_SIZE
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        349,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
        407,  # DECIMAL_OVERFLOW
        469,  # VIOLATED_CONSTRAINT
    }
)
_HTTP_STATUS: Final = re.compile(r"HTTP (?:driver|status|code)[^0-9]{0,20}(\d{3})", re.IGNORECASE)
_DISK_FULL: Final = os.strerror(errno.ENOSPC)
"""As the engine quotes it, under one of several codes: which of its writes met the full disk decides."""
_LATER_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})


def verdict(error: ClickHouseError) -> Verdict:
    """What to do about an error of an insert."""
    code = getattr(error, "code", None)
    if _DISK_FULL in str(error):
        return "later"
    if code in DATA_CODES:
        return "data"
    if code in LATER_CODES:
        return "later"
    if code is not None:
        return "defect"
    status = _HTTP_STATUS.search(str(error))
    if status is not None:
        return "later" if int(status.group(1)) in _LATER_STATUSES else "defect"
    return "later" if isinstance(error, OperationalError) else "defect"
