"""From evidence to incidents and their alerts."""
