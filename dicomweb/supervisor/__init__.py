"""The process that starts all others and looks after them, and after the embedded database."""
