"""Files made of others: in another transfer syntax, of metadata and bulk data, DICOMDIR."""
