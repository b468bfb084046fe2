"""The two stages as pure state machines; drivers (Faust agents live, ``replay`` offline) do the I/O.

Aggregate: the records of one input partition -> partials and watermarks.
Decide: the log of all partials -> closed windows -> evidence -> anomalies, incidents and alerts.
"""

from __future__ import annotations

from streams.aggregate import Aggregate, AggregateStep
from streams.decide import Decide
from streams.messages import Message, Record

__all__ = ["Aggregate", "AggregateStep", "Decide", "Message", "Record"]
