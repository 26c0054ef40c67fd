"""`kill -9` of one process after the other while images are stored and read: see `tests/kills/__main__.py`."""
