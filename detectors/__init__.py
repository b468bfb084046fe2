"""The pure core: it decides. No I/O, no clock, no event loop, no drivers."""
