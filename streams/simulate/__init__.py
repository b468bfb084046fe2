"""Synthetic LLM traffic with known incidents, in the event schema's own field names.

``generate(TrafficSpec(...))`` yields batches of ``Event``s in time order, ready to be sent. The same spec
gives the same bytes anywhere, any sub-span can be generated on its own, and an incident changes nothing but
the fields it touches: every random number belongs to a place in time, never to the history of calls.
"""

from streams.simulate.effects import Effect
from streams.simulate.events import Event
from streams.simulate.scenarios import SCENARIOS, Scenario, Truth, silent_model_change
from streams.simulate.traffic import Batch, TrafficSpec, generate

__all__ = [
    "SCENARIOS",
    "Batch",
    "Effect",
    "Event",
    "Scenario",
    "TrafficSpec",
    "Truth",
    "generate",
    "silent_model_change",
]
