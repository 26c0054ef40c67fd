"""What keeps an archive sound: checking, scrubbing, indexing anew, sweeping, counting."""
