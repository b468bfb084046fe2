"""``python -m streams``: the same as ``tidewatch``."""

from streams.cli import main

main()
