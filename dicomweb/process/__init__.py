"""What every child process of the supervisor is: its start, its sockets, its end."""
