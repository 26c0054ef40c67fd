"""Attack a running server with inputs made from seeds, and say what it cost.

python -m tests.fuzz [--minutes 60] [--only NAME] [--seed N] [--keep FOLDER]
python -m tests.fuzz --repeat FILE ...

A server of its own with its own database is attacked by one generator after the other, in turns, until time is up; the
pinned inputs first. Judged are: serving processes that end, errors that nobody foresaw (status 500, an error in the
log, a connection that is not ended), memory beyond its bound, and whether the server still serves in the end. What
failed is kept in the folder with its input, which `--repeat` sends again alone. The exit status is 1 when any did.
"""

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.campaign import Campaign, prepare, still_serves
from tests.fuzz.generators import GENERATORS
from tests.fuzz.target import MIB, PROCESS_BOUND, TOTAL_BOUND, Target, under_attack

TURN = 10.0
"""Seconds of one generator before it is the next one's turn."""


def main() -> int:
    """Run the attacks that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--only", choices=list(GENERATORS), action="append")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="a folder for what failed")
    parser.add_argument("--repeat", type=Path, nargs="+", help="kept inputs")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the server is stopped
    with (
        tempfile.TemporaryDirectory(prefix="dicomweb-fuzz-", ignore_cleanup_errors=True) as folder,
        under_attack(Path(folder)) as target,
    ):
        prepare(target)
        names = options.only or list(GENERATORS)
        campaigns = [Campaign(GENERATORS[name], target, options.seed, options.keep) for name in names]
        if options.repeat:
            campaigns = [_repeated(target, path) for path in options.repeat]
        else:
            _take_turns(campaigns, 60 * options.minutes)
        return _report(campaigns, target)


def _repeated(target: Target, path: Path) -> Campaign:
    """Send a kept input; the first word of its name is that of its generator."""
    campaign = Campaign(GENERATORS[path.name.partition("-")[0]], target, 0)
    campaign.attack(path.name, path.read_bytes())
    return campaign


def _take_turns(campaigns: list[Campaign], seconds: float) -> None:
    over = time.monotonic() + seconds
    for campaign in campaigns:
        campaign.pinned()
    while (left := over - time.monotonic()) > 0:
        for campaign in campaigns:
            campaign.run(seconds=max(0.0, min(TURN, left, over - time.monotonic())))


def _report(campaigns: list[Campaign], target: Target) -> int:
    for campaign in campaigns:
        print(*campaign.lines(), sep="\n")
    serves = still_serves(target)
    failed = sum(len(campaign.failures) for campaign in campaigns)
    print(
        f"{sum(campaign.sent for campaign in campaigns)} inputs: {failed} failed, "
        f"{target.deaths} serving processes ended; "
        f"at most {target.peak // MIB} MiB of {PROCESS_BOUND // MIB} in one process, "
        f"{target.total // MIB} of {TOTAL_BOUND // MIB} in all; "
        f"the server {'still serves' if serves else 'does not serve any more'}"
    )
    return 0 if serves and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
