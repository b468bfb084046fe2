"""How much memory the embedded broker uses, held against a ceiling: its whole log is in it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

WARNING_RATIO: Final = 0.8
EVERY_SECS: Final = 0.25
"""By what producers send meanwhile the ceiling may be passed."""


async def memory_spent(pid: Callable[[], int | None], ceiling_mb: int, tell: Callable[[str], None]) -> None:
    """Return when the process uses as much as it may.

    ``tell`` hears once that it is close to that, unless it fills up between two looks.
    """
    warned = False
    while True:
        used_mb = await rss_mb(pid())
        if used_mb >= ceiling_mb:
            return
        if used_mb >= WARNING_RATIO * ceiling_mb and not warned:
            warned = True
            tell(
                f"the broker's log takes {used_mb:.0f} MB of memory; at up.broker_memory_mb = {ceiling_mb} it goes "
                "on with an empty log, and producers wait for some seconds"
            )
        await asyncio.sleep(EVERY_SECS)


async def rss_mb(pid: int | None) -> float:
    """Resident memory of a process; 0 when it is gone."""
    if pid is None:
        return 0.0
    if sys.platform.startswith("linux"):
        return _linux_rss_mb(pid)
    ps = await asyncio.create_subprocess_exec(
        *("ps", "-o", "rss=", "-p", str(pid)), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await ps.communicate()
    return int(said or 0) / 1024


def _linux_rss_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
