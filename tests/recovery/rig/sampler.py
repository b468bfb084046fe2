"""Something that is watched from a thread of its own while something else happens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from threading import Event, Thread
from types import TracebackType
from typing import Self


class Sampler(ABC):
    """Looks every ``every_secs`` from entering until leaving; a context manager."""

    def __init__(self, name: str, every_secs: float) -> None:
        self._every_secs = every_secs
        self._over = Event()
        self._thread = Thread(target=self._watch, name=name, daemon=True)

    @abstractmethod
    def _watch(self) -> None:
        """Look again and again until ``_over`` is set."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
