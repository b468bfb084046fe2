"""``python -m streams.child ROLE CONFIG.json``: a worker as the supervisor starts it, configuration resolved."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from streams.config import Config
from streams.worker import Worker, run_worker


def worker_type(role: str) -> type[Worker]:
    """The worker of a role."""
    if role == "detect":
        from streams.agents import DetectWorker

        return DetectWorker
    from streams.recording import RecordWorker

    return RecordWorker


def main() -> None:
    role, path = sys.argv[1:]
    config = Config.model_validate_json(Path(path).read_bytes())
    code = run_worker(worker_type(role), config)
    sys.stderr.flush()
    os._exit(code)  # a thread of Faust may be stuck, and Python would wait for it


if __name__ == "__main__":
    main()
