"""Tidewatch moves LLM interactions from Kafka to alerts.

``bytes -> Interaction -> Partial -> WindowSummary -> Evidence -> Anomaly -> Incident -> Alert``

1. ``transport`` hands chunks of raw records to ``agents``, which do all I/O and nothing else.
2. ``decode`` turns bytes into interactions or dead letters.
3. ``windows`` adds them to mergeable sketches per (window, segment) and seals windows as partials.
4. ``closing`` merges the partials of all sources, in one order, into closed windows.
5. ``stages`` joins these into two pure state machines: Aggregate and Decide (detect, then triage).
6. ``record`` copies what happened into ClickHouse; ``replay`` runs 2-5 over files.
"""

__version__ = "0.1.0"
