"""The job worker: durable background work (`storage/work/jobs.py`) is done here, in a process of its own."""
