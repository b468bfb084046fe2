"""Delivery: a sink returns only when a batch is durable, and the same batch twice is stored once."""
