"""The job worker: durable background work (`storage/jobs.py`) is done here, in a process of its own."""
