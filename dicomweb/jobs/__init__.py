"""The job worker: durable background work (`storage.work.jobs`) is done here, in a process of its own."""
