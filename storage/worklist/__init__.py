"""Modality worklist and performed procedure steps (PS3.4 K, F)."""
