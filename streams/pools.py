"""Pools of processes that end with the program that began them, also when that is killed."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from threading import Thread

from streams.allocator import give_memory_back


def pool_of(processes: int) -> ProcessPoolExecutor:
    """A pool of new processes, which share nothing with this one."""
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_begin)


def _begin() -> None:
    give_memory_back()
    Thread(target=_watch_parent, name="parent", daemon=True).start()


def _watch_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
