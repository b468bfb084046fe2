"""``python -m tests.support.store_writer FOLDER SEED FIRST [REPEAT]``: writes an embedded store until it is killed.

Says on standard output, one JSON object a line, what it found at the start, what it is about to do, and what is
done. A batch is 500 interactions of one user; a delete erases one user.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path
from typing import Any, Final

import orjson

from sinks.base import Batch
from sinks.clickhouse import ClickHouseSink
from sinks.clickhouse_config import ClickHouseConfig
from tests.support.rows import START_MS, sample_batch

ROWS: Final = 500
_INTERACTIONS: Final = "tidewatch.interactions"
_BATCHES: Final = f"SELECT user_hash, count() FROM {_INTERACTIONS} GROUP BY user_hash"  # noqa: S608
_FINAL: Final = f"SELECT user_hash, count() FROM {_INTERACTIONS} FINAL GROUP BY user_hash"  # noqa: S608


def batch(number: int) -> Batch:
    return sample_batch(
        "interactions", ROWS, first=number * ROWS, user_hash=f"{number}", occurred_at=START_MS
    )


def say(**what: Any) -> None:
    print(orjson.dumps(what).decode(), flush=True)


async def main() -> None:
    folder, seed, first, *repeat = sys.argv[1:]
    rng = random.Random(int(seed))
    sink = ClickHouseSink(ClickHouseConfig(), Path(folder))
    began = time.monotonic()
    await sink.healthcheck()
    client = sink._client

    def stored(query: str) -> dict[str, int]:
        return dict(client.query(query).result_rows)

    found = await sink._run(lambda: (stored(_FINAL), stored(_BATCHES)))
    say(found=found[0], raw=found[1], open_secs=time.monotonic() - began)
    number, present = int(first), sorted(map(int, found[0]))
    for again in map(int, repeat):
        say(begin="insert", number=again)
        await sink.write(batch(again))
        say(done="insert", number=again)
    while True:
        what = rng.choices(("insert", "merge", "delete"), (4, 2, 2 if len(present) > 4 else 0))[0]
        if what == "insert":
            say(begin=what, number=number)
            await sink.write(batch(number))
            say(done=what, number=number)
            present.append(number)
            number += 1
        elif what == "merge":
            say(begin=what)
            await sink._run(lambda: client.command(f"OPTIMIZE TABLE {_INTERACTIONS} FINAL"))
            say(done=what)
        else:
            user = present.pop(rng.randrange(len(present)))
            say(begin=what, number=user)
            erase = (
                f"ALTER TABLE {_INTERACTIONS} DELETE WHERE user_hash = '{user}' SETTINGS mutations_sync = 2"
            )
            await sink._run(lambda erase=erase: client.command(erase))  # type: ignore[misc]
            say(done=what, number=user)


if __name__ == "__main__":
    asyncio.run(main())
