"""WADO-RS: the Retrieve transaction, as stored or in another transfer syntax (PS3.18 10.4)."""
