"""What we ask of other application entities: associations that we open, and operations on them."""
