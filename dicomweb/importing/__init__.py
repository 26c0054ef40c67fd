"""`dicomweb import`: files found, opened, sent to a server or into an archive, and accounted for."""
