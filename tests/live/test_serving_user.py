"""A server that root starts serves as somebody else; what it keeps is closed to every other user of the machine."""

import json
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from storage.system.launch import become_user
from tests.builders import ct_slice, sop_instance_uid
from tests.live.test_commands import run
from tests.live_server import LiveServer, running_server, runs, start_server
from tests.storage.servers import open_folder, ordinary_python

Serve = Callable[..., LiveServer]
IN_TIME = 60.0
USER = "23456"  # this machine has no name for it
MESSAGE = {"Content-Type": "application/dicom"}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def _free_low_port() -> int:
    for port in range(700, 1000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    pytest.skip("every port below 1024 is taken")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that signs itself, with its key; only its owner can read either."""
    path = tmp_path_factory.mktemp("certificate") / "both.pem"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=archive", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", *curve, *name, "-keyout", path, "-out", path.with_suffix(".crt")],
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def served(certificate: Path) -> Iterator[LiveServer]:
    """One server, started by root for another user, with DIMSE over TLS on a port below 1024."""
    tls = ("--dimse-tls-port", str(_free_low_port()), "--dimse-tls-certificate", str(certificate))
    flags = ("--workers", "1", "--user", USER, *tls)
    with open_folder() as path, running_server(path / "data", *flags, python=ordinary_python()) as running:
        yield running


@pytest.fixture
def folder() -> Iterator[Path]:
    """A temporary folder that every user may pass through, unlike `tmp_path`."""
    with open_folder() as path:
        yield path


@pytest.fixture
def serve(folder: Path) -> Iterator[Serve]:
    """Start servers on `folder`/data, with a Python that every user may run."""
    python = ordinary_python()
    with ExitStack() as stack:
        yield lambda *flags: stack.enter_context(
            running_server(folder / "data", "--workers", "1", *flags, python=python)
        )


def facts(pid: int) -> dict[str, str]:
    """What the kernel says about a process (proc_pid_status(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = {name: " ".join(value.split()) for name, _, value in (line.partition(":") for line in lines)}
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    module = words[words.index(b"-m") + 1].decode() if b"-m" in words else "postgres"
    return {name: found[name] for name in ("Uid", "Gid", "Groups", "CapEff", "CapPrm", "NoNewPrivs")} | {"of": module}


def store(server: LiveServer) -> str:
    """Store an instance; the path it is retrieved from."""
    file = ct_slice("1.2.3", "1.2.3.1", rows=8, columns=8)
    with httpx2.Client(base_url=server.root, timeout=IN_TIME) as client:
        assert client.post("/studies", content=file, headers=MESSAGE).status_code == 200
    return f"/studies/1.2.3/series/1.2.3.1/instances/{sop_instance_uid(file)}"


def assert_there(server: LiveServer, path: str) -> None:
    with httpx2.Client(base_url=server.root, timeout=IN_TIME) as client:
        assert client.get(path, headers={"Accept": "application/dicom"}).status_code == 200


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + IN_TIME
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def process_of(server: LiveServer, module: str) -> int:
    """The one process of the server that runs a module, or the postmaster."""
    return min(pid for pid in server.processes() if facts(pid)["of"] == module)


def test_nothing_that_serves_is_root_nor_can_become_it(served: LiveServer) -> None:
    """Supervisor, worker, gateway and jobs have one user, the database another; only the database's keeper is root."""
    assert_there(served, store(served))
    users: dict[str, set[str]] = {}
    for pid in served.processes():
        status = facts(pid)
        users.setdefault(status["of"], set()).add(status["Uid"])
        if status["of"] != "dicomweb.supervisor.database_keeper":
            assert len(set(status["Uid"].split())) == len(set(status["Gid"].split())) == 1
            assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
            assert status["NoNewPrivs"] == "1" and "0" not in status["Groups"].split()
    database = (served.data_dir / "postgres").stat().st_uid
    assert users == {
        "dicomweb.cli": {" ".join([USER] * 4)},
        "dicomweb.http.process": {" ".join([USER] * 4)},
        "dicomweb.gateway.process": {" ".join([USER] * 4)},
        "dicomweb.jobs.process": {" ".join([USER] * 4)},
        "dicomweb.supervisor.database_keeper": {"0 0 0 0"},
        "postgres": {" ".join([str(database)] * 4)},
    }
    assert database not in (0, int(USER))


def test_who_gave_up_root_does_not_get_it_back() -> None:
    """All three user ids are gone, and setuid(0) is refused."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            become_user(23456, 23457, [23458])
            try:
                os.setuid(0)
            except PermissionError:
                status = 0 if (os.getresuid(), os.getresgid()) == ((23456,) * 3, (23457,) * 3) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_another_user_of_the_machine_reads_nothing(served: LiveServer) -> None:
    """Not a stored file, a log, what commands need to join, password and tables, nor the socket of the database."""
    store(served)
    told = json.loads((served.data_dir / "run" / "server.json").read_text())
    socket_folder = Path(told["database_url"].rpartition("host=")[2])
    closed = [*served.data_dir.rglob("*"), *socket_folder.iterdir()]
    assert any(path.suffix == ".dcm" for path in closed) and any(path.is_socket() for path in closed)
    assert [str(path) for path in (served.data_dir, *closed) if path.lstat().st_mode & 0o077] == []
    other: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": [], "cwd": "/"}
    done = subprocess.run(["cat", *closed], **other, capture_output=True, text=True)
    assert done.stdout == "" and done.stderr.count("Permission denied") == len(closed)
    program = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    command = [*ordinary_python(), "-c", program, str(socket_folder / ".s.PGSQL.5432")]
    assert b"PermissionError" in subprocess.run(command, **other, capture_output=True).stderr
    assert subprocess.run(command, **other | {"user": int(USER)}, capture_output=True).returncode == 0


def test_a_folder_that_root_served_before_goes_on_as_its_new_user(serve: Serve) -> None:
    """What was stored as root is found again; the next start needs no more giving. `--user root` changes nobody."""
    before = serve("--user", "root")
    path = store(before)
    assert {facts(pid)["Uid"] for pid in before.processes() if facts(pid)["of"] != "postgres"} == {"0 0 0 0"}
    assert before.stop() == 0
    for flags, given in ((("--user", USER), 1), ((), 1)):  # then its owner is who serves
        server = serve(*flags)
        assert_there(server, path)
        assert facts(server.process.pid)["Uid"] == " ".join([USER] * 4)
        assert server.log.read_text().count("belonged to root; giving it to user") == given
        assert server.stop() == 0


def test_what_roots_command_stores_beside_the_server_is_served(served: LiveServer, tmp_path: Path) -> None:
    """Root imports what root alone may read; the server reads what it wrote, and its own user uses commands, too."""
    (tmp_path / "of-root.dcm").write_bytes(file := ct_slice("1.2.4", "1.2.4.1", rows=8, columns=8))
    (tmp_path / "of-root.dcm").chmod(0o600)
    status, _, err = run(tmp_path, "import", str(tmp_path / "of-root.dcm"), "--data-dir", str(served.data_dir))
    assert status == 0, err
    assert_there(served, f"/studies/1.2.4/series/1.2.4.1/instances/{sop_instance_uid(file)}")
    command = [*ordinary_python(), "-m", "dicomweb.cli", "status", "--data-dir", str(served.data_dir)]
    done = subprocess.run(
        command, user=int(USER), group=int(USER), extra_groups=[], cwd="/", capture_output=True, text=True
    )
    assert done.returncode == 0 and "1" in done.stdout, done.stderr


def test_database_comes_back_and_ends_with_its_keeper(serve: Serve) -> None:
    """A killed postmaster is started again as its user; a killed keeper ends the server, as only root can start it."""
    server = serve("--user", USER)
    path = store(server)
    postmaster = process_of(server, "postgres")
    os.kill(postmaster, signal.SIGKILL)

    def back() -> bool:
        with suppress(httpx2.HTTPError, ValueError):
            return process_of(server, "postgres") != postmaster and httpx2.get(f"{server.url}/health/ready").is_success
        return False

    wait_until(back)
    assert_there(server, path)
    postmaster = process_of(server, "postgres")
    os.kill(process_of(server, "dicomweb.supervisor.database_keeper"), signal.SIGKILL)
    assert server.process.wait(IN_TIME) == 1
    assert "the process that keeps the database is gone" in server.log.read_text()
    wait_until(lambda: not runs(postmaster))
    again = serve()
    assert_there(again, path)
    postmaster = process_of(again, "postgres")
    again.process.kill()  # and a killed supervisor takes the database along
    again.process.wait()
    wait_until(lambda: not runs(postmaster))
    assert_there(serve(), path)


def test_ports_and_keys_of_root_are_had_before(served: LiveServer, certificate: Path) -> None:
    """A key of mode 0600 in a folder of root's and a port below 1024 serve, also after the gateway was killed."""
    assert certificate.stat().st_mode & 0o077 == 0
    assert served.dimse_tls_port < 1024
    context = ssl.create_default_context(cafile=str(certificate))

    def spoken() -> bool:
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", served.dimse_tls_port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            return secured.version() in ("TLSv1.2", "TLSv1.3")
        return False

    wait_until(spoken)
    os.kill(process_of(served, "dicomweb.gateway.process"), signal.SIGKILL)
    wait_until(spoken)


def test_where_it_cannot_be_the_server_says_so(folder: Path, tmp_path: Path) -> None:
    """A user that was named must be able to serve, in one sentence; the one of the default need not, with a warning."""
    tmp_path.parent.chmod(0o700)
    for user, said in (
        (USER, "is closed to it (chmod o+x"),
        ("nobody-of-this-name", "this machine has no user of this name"),
    ):
        refused = start_server(tmp_path / "refused", "--user", user, python=ordinary_python())
        assert refused.process.wait(IN_TIME) == 2
        assert said in refused.log_tail()
        assert "Traceback" not in refused.log_tail()
    with running_server(tmp_path / "closed", "--workers", "1", python=ordinary_python()) as server:
        assert "the server goes on as root: user " in server.log.read_text()
        assert_there(server, store(server))
    data = folder / "data"
    data.mkdir()
    (data / "website").mkdir()
    refused = start_server(data, "--user", USER, python=ordinary_python())
    assert refused.process.wait(IN_TIME) == 2
    assert "other things lie in it, too" in refused.log_tail()
    assert data.stat().st_uid == (data / "website").stat().st_uid == 0


@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv")
@pytest.mark.parametrize("right", ["chown", "setuid"])
def test_where_nothing_can_be_given_away_the_server_says_so(folder: Path, database_url: str, right: str) -> None:
    """A file system without owners, or a container that may not change users: one sentence, and it serves as ever."""
    python = ["setpriv", "--bounding-set", f"-{right}", *ordinary_python()]
    flags = ("--workers", "1", "--database-url", database_url)
    with running_server(folder / "data", *flags, python=python) as server:
        (line,) = [line for line in server.log.read_text().splitlines() if "the server goes on as root: user " in line]
        assert "permission is denied" in line
        assert_there(server, store(server))
        assert {facts(pid)["Uid"] for pid in server.processes()} == {"0 0 0 0"}


def test_by_default_it_is_a_user_for_this_alone(serve: Serve) -> None:
    """Without a setting, a folder of root's is served by the system user `dicomweb`, the database by `dicomweb-db`."""
    server = serve()
    try:
        expected = {pwd.getpwnam(name).pw_uid for name in ("dicomweb", "dicomweb-db")}
    except KeyError:
        pytest.skip("this machine cannot make system users")
    users = {int(facts(pid)["Uid"].split()[0]) for pid in server.processes()}
    assert users == expected | {0}
