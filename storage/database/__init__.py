"""PostgreSQL: connections, migrations, the embedded server, the data folder it lies in."""
