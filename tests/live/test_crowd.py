"""Hundreds that hold on and do nothing, and one client beside them: `scripts/bench/crowd.py`, smaller."""

from collections.abc import Callable

import httpx2
import pytest

from scripts.bench.crowd import STUDY, Client, Crowd, crowded, measure
from scripts.bench.data import MULTIPART, ct_image, stow_body
from tests.live_server import LiveServer


@pytest.mark.parametrize("addresses", [False, True], ids=["of one address", "of many"])
def test_a_crowd_keeps_nobody_out(serve: Callable[..., LiveServer], database_url: str, addresses: bool) -> None:
    """A-109, G-010: with few places, and six times as many that do not read, do not send, or say nothing."""
    flags = ("--workers", "1", "--database-url", database_url)
    server = serve(*flags, "--max-requests-in-flight", "8", "--dimse-max-associations", "4")
    body = stow_body([ct_image(STUDY, STUDY, STUDY + number) for number in range(20)])
    answer = httpx2.post(f"{server.root}/studies", content=body, headers={"Content-Type": MULTIPART}, timeout=60)
    assert answer.status_code == 200
    crowd = Crowd(readers=50, senders=50, silent=50, addresses=addresses)
    with crowded(crowd, server.port, server.dimse_port):
        waits = measure(Client(server.port, server.dimse_port), 1)
    assert {name: found.failures for name, found in waits.items() if found.failures} == {}
    assert all(found.seconds for found in waits.values())


def test_idle_connections_do_not_use_up_the_descriptors(serve: Callable[..., LiveServer], database_url: str) -> None:
    """The oldest give way, and who asks for something gets in (A-109)."""
    server = serve("--workers", "1", "--database-url", database_url, "--max-connections", "32")
    idle = [httpx2.Client(base_url=server.url, timeout=30) for _ in range(60)]
    try:
        assert {client.get("/health/ready").status_code for client in idle} == {200}
        assert httpx2.get(f"{server.root}/studies", timeout=30).status_code == 200
    finally:
        for client in idle:
            client.close()
