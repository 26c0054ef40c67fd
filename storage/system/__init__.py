"""The machine under us: users, files and folders that are private, processes, what its errors mean."""
