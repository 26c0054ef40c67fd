"""Become another user, ask to be stopped when the parent dies, then become the given program.

Run as a file of its own, `python -I -S launch.py PARENT SIGNAL UID GID PROGRAM ARGUMENT...` (UID -1: stay who we
are), because running Python code between fork and exec is not safe in a process with threads. The process id
stays the same throughout, so the caller's `Popen` is that of the program.

The kernel forgets the death signal when the user changes, so it is asked for after that; and a parent that died
before the asking would never be noticed, so its process id is compared afterwards. "Parent" means the thread that
called: it has to live as long as the program should.
"""

import ctypes
import os
import sys
from collections.abc import Iterable

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
PR_SET_NO_NEW_PRIVS = 38


def become_user(user_id: int, group_id: int, groups: Iterable[int] = ()) -> None:
    """Give up root for good: all user and group ids, and what setuid programs would give back."""
    os.setgroups(list(groups))
    os.setgid(group_id)
    os.setuid(user_id)
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def die_with_parent(parent: int, signal_number: int) -> None:
    """Have the kernel send `signal_number` to this process when the thread that made it dies (Linux only)."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the process that wanted this one is gone")


def main(arguments: list[str]) -> None:
    """Do what the module says; returns only by an exception."""
    parent, signal_number, user_id, group_id = (int(argument) for argument in arguments[:4])
    program = arguments[4:]
    try:
        if user_id >= 0:
            become_user(user_id, group_id)
        die_with_parent(parent, signal_number)
        os.execv(program[0], program)
    except OSError as error:
        sys.exit(f"cannot run {program[0]} as user {os.geteuid()}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
