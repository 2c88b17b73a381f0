# SPDX-License-Identifier: Apache-2.0
"""Times as the tables keep them: microseconds since 1970, UTC."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_column(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND


def from_column(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
