"""The measured promise: labelled incidents through the same pure functions as live, scored.

``jobs`` says what to run, ``warmup`` brings one fleet to the point where the baselines are learned, ``branch`` runs
one incident from there, ``scoring`` judges what was said about it, ``suite`` runs many at once and can be
interrupted, ``figures`` sums up, ``report`` shows it.
"""
