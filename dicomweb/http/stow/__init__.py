"""STOW-RS: the Store transaction (PS3.18 10.5)."""
