"""The DIMSE gateway: what modalities and workstations ask of the archive, in a process of its own."""
