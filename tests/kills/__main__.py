"""Kill processes of a server at random moments while it stores and shows images, and see that nothing was lost.

python -m tests.kills [--rounds 100] [--seed N] [--victim NAME ...]

In each round clients store by STOW-RS and C-STORE and read files, frames and pictures, all at once, a job sends a
study, and one kind of process is killed by `kill -9`. Then everything that was acknowledged in the round is read back
bit for bit and searched for; in the end everything again, and `dicomweb check` compares files and index. An answer
that is not what was sent, at any time, is wrong. Prints a line for each round. The exit status is 1 when anything was
lost or wrong.
"""

import argparse
import random
import signal
import sys
import tempfile
from pathlib import Path

from tests.kills.rounds import Rounds
from tests.kills.victims import VICTIMS


def main() -> int:
    """Do the rounds that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--victim", choices=list(VICTIMS), nargs="+", default=list(VICTIMS))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the server is stopped
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="dicomweb-kills-", ignore_cleanup_errors=True) as folder:
        rounds = Rounds(Path(folder), chance)
        try:
            return _run(rounds, options.rounds, options.victim)
        finally:
            rounds.stop()


def _run(rounds: Rounds, count: int, victims: list[str]) -> int:
    slowest = 0.0
    for number in range(count):
        done = rounds.run(victims[number % len(victims)])
        if done is not None:
            slowest = max(slowest, done.seconds)
        print(
            f"{number + 1:4}", done.line if done else f"{victims[number % len(victims)]:12} there is none", flush=True
        )
    checked = rounds.finish()
    print(*rounds.lost[:50], *rounds.ledger.wrong[:50], sep="\n")
    print(
        f"{count} rounds: {len(rounds.ledger.acknowledged)} acknowledged, {rounds.ledger.reads} reads, "
        f"{len(rounds.lost)} lost, {len(rounds.ledger.wrong)} wrong; ready again after at most {slowest:.1f} s; "
        f"check: {checked}"
    )
    return 1 if rounds.lost or rounds.ledger.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
