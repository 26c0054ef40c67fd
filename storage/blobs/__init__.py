"""Stored files: how they come to disk, are read, compared with their checksums and replaced."""
