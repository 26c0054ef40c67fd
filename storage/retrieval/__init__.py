"""What is read of stored instances: files, frames, bulk data, metadata."""
