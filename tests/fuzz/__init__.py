"""Attacks on a running server by inputs made from fixed seeds: see `tests/fuzz/__main__.py`."""
