"""Tidewatch: event-driven monitor for LLM products."""
