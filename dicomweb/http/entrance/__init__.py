"""Who comes in: connections, places, the names we answer to, and requests that nothing should look at."""
