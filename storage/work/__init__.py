"""What the archive has promised to do later: jobs, storage commitments, and for whom."""
