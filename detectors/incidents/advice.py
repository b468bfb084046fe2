"""What a person calls each type of incident, and what to do first about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from detectors.records import IncidentType


class Advice(NamedTuple):
    title: str
    """Begins the sentence of the alert."""
    meaning: str
    """What it is, for the documentation."""
    first: str
    """What to do first; one or two short sentences."""


ADVICE: Final[Mapping[IncidentType, Advice]] = {
    "agent_loop": Advice(
        "Runaway agents",
        "some agents take many times the steps that they used to, and spend accordingly",
        "Cap the steps per run now. Then look at the exemplars for a tool call that repeats, and roll the last "
        "release of the agent back if one is named.",
    ),
    "anomaly": Advice(
        "Anomaly",
        "a change that fits no other type",
        "Compare the exemplars with answers from before the onset.",
    ),
    "cache_degradation": Advice(
        "Cache hits fell",
        "fewer answers come from the cache, so cost and latency rise",
        "Look for a changed cache key, prompt prefix or eviction; after a restart wait for it to warm up.",
    ),
    "context_drift": Advice(
        "Stale knowledge",
        "the index is older than it used to be, or answers are unknown or corrected more often",
        "Look at when the index was last refreshed, and why the refresh stopped; re-index the topic named.",
    ),
    "context_growth": Advice(
        "Prompts grew",
        "prompts are longer, and latency and cost follow",
        "Look at what is put into the prompt: history that is not cut, more or longer documents.",
    ),
    "cost_drift": Advice(
        "Cost per request drifts",
        "requests have become dearer, in all or most of the fleet",
        "See which part moved: tokens, price or the mix of models; the alert's members say.",
    ),
    "cost_per_token": Advice(
        "Price per token rose",
        "the same tokens cost more: a price list, or traffic routed to dearer models",
        "Compare the invoice price with the price table, and the model that was asked for with the one served.",
    ),
    "cost_spike": Advice(
        "Spend spike",
        "one tenant or few users use far more at the usual cost per request",
        "Ask whether the tenant's growth was expected; else set a quota. Nothing is wrong with the model.",
    ),
    "data_incident": Advice(
        "Retrieval fails",
        "retrieval returns fewer or worse documents",
        "Check the index and its feed. Fall back to the last good index.",
    ),
    "eval_baseline": Advice(
        "The judge changed",
        "scores moved because the evaluator did, not the answers",
        "Score a fixed set of answers with both versions of the judge, and reset the baseline by a change event of "
        "kind judge.",
    ),
    "eval_divergence": Advice(
        "Users and judge disagree",
        "users are less content while evaluations say nothing",
        "Sample answers with thumbs-down into the evaluation set; it no longer covers what users mind.",
    ),
    "forecast": Advice(
        "Heading for its bound",
        "a rule's bound is not passed yet, but will be if the trend of whole days or the course of today goes on",
        "Look at what grows: traffic, tokens per request or price. Raise the bound if the growth is wanted.",
    ),
    "hallucination_cluster": Advice(
        "Unsupported claims",
        "more claims without support in one place",
        "Read the exemplars. If retrieval is as usual, pin or roll back model and prompt for this topic.",
    ),
    "input_drift": Advice(
        "Inputs changed",
        "users ask about other things than they used to",
        "See who is new, and whether prompts and evaluation sets cover it.",
    ),
    "latency": Advice(
        "Slow answers",
        "answers take longer although prompts do not grow",
        "Check the provider's status page; move traffic to another region or model.",
    ),
    "latency_tail": Advice(
        "Slow tail",
        "the slowest answers are slower, the typical one is not",
        "Compare time to first token with total time: queueing before, generation after. Look for retries and "
        "time-outs.",
    ),
    "mix_change": Advice(
        "Traffic moved",
        "traffic went to other models or segments, each as good as before",
        "Confirm that the fallback or routing was meant.",
    ),
    "model_drift": Advice(
        "The model behaves differently",
        "quality, length or form of answers changed at once",
        "Run the evaluation set against the model now; pin the previous version or move traffic if it fails.",
    ),
    "more_sampling": Advice(
        "More samples would tell",
        "a judged or rated signal hints at a change that its sample rate cannot settle; recorded, never alerted",
        "Judge more of this segment's answers, at the rate that the record names, until it is settled.",
    ),
    "no_data": Advice(
        "Traffic is missing",
        "far fewer records than expected: nobody asks, or nobody tells us",
        "Check the producer and its topic first, then the product: silence is not health.",
    ),
    "prompt_regression": Advice(
        "A release made answers worse",
        "outputs fail their schema, or users their goal, since a prompt or deployment changed",
        "Roll the named version back.",
    ),
    "provider_outage": Advice(
        "Requests fail",
        "errors and retries at one provider, model or region",
        "Fail over to another provider or region; check the provider's status page.",
    ),
    "refusal_surge": Advice(
        "Refusals surge",
        "the model refuses more than it used to",
        "Read refused exemplars. Roll back the prompt if one is named; else ask the provider, and move traffic.",
    ),
    "safety": Advice(
        "Safety",
        "guardrails flag more than they used to, or something severe",
        "Read the exemplars now, and follow the safety procedure; block the tenant or topic if needed.",
    ),
    "schema_change": Advice(
        "An upstream field changed",
        "attributes are missing or have values never seen",
        "Ask the owner of the feed what changed; compare its records from before and after the onset.",
    ),
    "threshold": Advice(
        "Bound exceeded",
        "a rule's bound was passed, and nothing is known to have changed",
        "Look at the signal's course: it may have crept up to its bound.",
    ),
    "tool_failure": Advice(
        "Tools fail",
        "the calls of tools fail more often, while requests as such do not",
        "See which tool the exemplars call, and whether it is down or its arguments changed with a release.",
    ),
}


def reference() -> Iterator[str]:
    """The types as Markdown."""
    yield "| type | what it is | what to do first |"
    yield "|---|---|---|"
    for kind, advice in ADVICE.items():
        yield f"| `{kind}` | {advice.title}: {advice.meaning} | {advice.first} |"
