"""What requests and responses are made of, whichever service they belong to."""
