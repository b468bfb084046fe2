"""Whether a bound is exceeded beyond chance: three errors among a hundred do not show a rate above 2 %.

Of n observations k are bad: they held (a ratio), or lie beyond the bound (a quantile, for which a share of 1 - q
may). With p the share that the bound allows, chance shows k or more with a probability of at most

    exp(-n KL(k/n, p))        KL(a, p) = a ln(a/p) + (1 - a) ln((1-a)/(1-p))

so a bound counts as exceeded from ``BEYOND_NATS`` on. Means, rates and sums are compared as they are: nobody says
how much they may vary.

Source: Chernoff, A measure of asymptotic efficiency for tests of a hypothesis, Ann. Math. Stat. 23, 1952; in this
form Hoeffding, Probability inequalities for sums of bounded random variables, JASA 58, 1963.
"""

from __future__ import annotations

import math
from typing import Final

from detectors.records import Signal, SignalValue
from detectors.rules.absolute import Rule
from detectors.sketches.window import Measures

BEYOND_NATS: Final = 5.0
"""At most one in 150 at the very bound, and far less below it: at half of 2 % one look in ten thousand."""


def beyond_chance(rule: Rule, signal: Signal, bound: float, value: SignalValue, measures: Measures) -> bool:
    """Whether ``value``, read from ``measures`` and worse than ``bound``, says so of what is behind it."""
    if signal.kind == "ratio":
        return not 0.0 < bound < 1.0 or nats_beyond(value.value, bound, value.n) >= BEYOND_NATS
    q = measures.layout.readings[rule.signal].q
    if q is None or q >= 1.0:
        return True
    above = measures.share_above(rule.signal, bound)
    bad, allowed = (above, 1.0 - q) if rule.worse == "up" else (1.0 - above, q)
    return bad > allowed and nats_beyond(bad, allowed, value.n) >= BEYOND_NATS


def nats_beyond(share: float, allowed: float, n: int) -> float:
    """Evidence in ``n`` observations, of which ``share`` is bad, against ``allowed`` (between 0 and 1) being so."""
    good, may_be_good = 1.0 - share, 1.0 - allowed
    above = share * math.log(share / allowed) if share > 0.0 else 0.0
    below = good * math.log(good / may_be_good) if good > 0.0 else 0.0
    return n * (above + below)
