"""The two-minute demo: the laptop stack, an incident, its alert, its rows. Driver, view and sources apart."""
