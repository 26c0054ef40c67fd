"""C-STORE, C-FIND and C-MOVE, side by side with DCMTK's dcmqrscp and Orthanc on the same files, by DCMTK's clients.

python -m scripts.bench.dimse [--images 200] [--studies 400] [--rounds 3] [--no-nagle]

The archives run at the same time, idle while another one is measured; of the rounds the best one counts, since other
programs on the machine only ever slow one down. dcmqrscp does not bring what it acknowledged to disk; the others do.

DCMTK's programs leave Nagle's algorithm on, as many devices do: each message may then wait 40 ms for an
acknowledgement that the other side delays. `--no-nagle` switches it off in all of them, to see what is left.
"""

import argparse
import math
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from scripts.bench.archives import SINK, Measured, every_archive, program
from scripts.bench.data import ct_image, uid
from scripts.bench.load import table

FINDS = 100


class Failed(Exception):
    """A client says that the archive did not do what it was asked to."""


def store(archive: Measured, folders: list[Path]) -> float:
    """Send each folder over an association of its own, all at once; returns seconds."""
    command = [
        program("storescu"),
        "-aec",
        archive.ae_title,
        "--max-send-pdu",
        "131072",
        "127.0.0.1",
        str(archive.port),
        "+sd",
    ]
    began = time.perf_counter()
    _run_all([[*command, str(folder)] for folder in folders])
    return time.perf_counter() - began


def find(archive: Measured, repeat: int, *keys: str) -> float:
    """Search studies so many times in one association; returns seconds."""
    command = [program("findscu"), "-S", "-q", "-aec", archive.ae_title, "127.0.0.1", str(archive.port)]
    asked = ("QueryRetrieveLevel=STUDY", "StudyInstanceUID", "PatientName", "StudyDate", *keys)
    for key in asked:
        command += ["-k", key]
    began = time.perf_counter()
    _run_all([[*command, "--repeat", str(repeat)]])
    return time.perf_counter() - began


def move(archive: Measured, study: int) -> float:
    """Move one study to the sink; returns seconds."""
    command = [program("movescu"), "-S", "-aec", archive.ae_title, "-aem", SINK, "127.0.0.1", str(archive.port)]
    command += ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={uid(1, study)}"]
    began = time.perf_counter()
    _run_all([command])
    return time.perf_counter() - began


def _run_all(commands: list[list[str]]) -> None:
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for command in commands]
    for process in running:
        _, complaint = process.communicate()
        if process.returncode != 0 or b"Failed" in complaint:
            raise Failed(f"{commands[0][0]} ended with {process.returncode}: {complaint.decode()[-500:].strip()}")


def write_images(folder: Path, study: int, count: int, rows: int = 512, *, studies: int = 1) -> Path:
    """Write `count` CT images, spread over so many studies; returns the folder."""
    folder.mkdir(parents=True)
    for number in range(count):
        place = study + number % studies
        (folder / f"{number:05}.dcm").write_bytes(ct_image(place, place, study * 1000 + number, rows))
    return folder


def best(archive: Measured, rounds: int, work: Callable[[int], float]) -> float:
    """Return the least seconds of so many rounds, given their numbers; a round that failed is told and left out."""
    taken = []
    for number in range(rounds):
        try:
            taken.append(work(number))
        except Failed as error:
            print(f"{archive.name}, round {number}: {error}")
    return min(taken, default=math.inf)


def measure(archive: Measured, folder: Path, options: argparse.Namespace) -> list[object]:
    """Measure one archive; returns a row of the table."""
    images, rounds = options.images, options.rounds

    def stored(clients: int) -> Callable[[int], float]:
        def work(number: int) -> float:
            return store(archive, [folder / f"{clients}-{number}-{client}" for client in range(clients)])

        return work

    one, four = best(archive, rounds, stored(1)), best(archive, rounds, stored(4))
    store(archive, [folder / "many"])
    exact = best(archive, rounds, lambda _: find(archive, FINDS, f"StudyInstanceUID={uid(1, 20_001)}"))
    everything = best(archive, rounds, lambda _: find(archive, 1, "AccessionNumber"))
    moved = best(archive, rounds, lambda _: move(archive, 1000))
    return [
        archive.name,
        images / one,
        images // 4 * 4 / four,
        exact / FINDS * 1000,
        options.studies / everything,
        images / moved,
    ]


def main() -> None:
    """Measure every archive on the same files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200, help="512 x 512 images (0.5 MB) of one measurement")
    parser.add_argument("--studies", type=int, default=400, help="studies of one small image; dcmqrscp holds 500")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-nagle", action="store_true")
    options = parser.parse_args()
    if options.no_nagle:
        os.environ["TCP_NODELAY"] = "1"  # read by DCMTK
    with tempfile.TemporaryDirectory(prefix="dicomweb-bench-") as name:
        folder = Path(name)
        for number in range(options.rounds):
            for clients in (1, 4):
                for client in range(clients):
                    study = clients * 1000 + number * 10 + client
                    write_images(folder / f"{clients}-{number}-{client}", study, options.images // clients)
        write_images(folder / "many", 20_000, options.studies, 16, studies=options.studies)
        with every_archive(folder / "archives") as archives:
            rows = [measure(archive, folder, options) for archive in archives]
    table(
        ["archive", "C-STORE 1 assoc. /s", "4 assoc. /s", "C-FIND one, ms", "C-FIND all, rows/s", "C-MOVE /s"],
        rows,
    )


if __name__ == "__main__":
    main()
