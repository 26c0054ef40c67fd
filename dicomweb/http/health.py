"""Health and metrics, for load balancers, orchestrators and people.

`/health/live` says that a worker runs, `/health/ready` that the archive can serve, `/health` what a person wants to
know when URLs come out wrong: the root as this very request sees it.

Facts this module keeps:

- What does not answer is a 503: it is broken, and a restart may mend it. What answers and has all it can do is busy: a
  200 that says so, for a restart would only make it worse.
- A full disk is said by each of them, and is a 503 of `/health/ready/storing` alone: images can be read all the same.
- Whoever asks gets in: these requests need no place, and idle connections give way.
"""

import orjson
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dicomweb.http.problems import problem
from dicomweb.http.urls import base_url
from dicomweb.telemetry.metrics import Metrics, queues
from dicomweb.version import program_version
from storage.blobs.damage import damage_advice, damaged_files
from storage.errors import Busy, OutOfSpace, Unavailable
from storage.upkeep.stocktaking import advice, unindexed_files


async def show_live(request: Request) -> Response:
    """Answer 200: this process runs."""
    return _answer({"status": "live"})


async def show_ready(request: Request) -> Response:
    """Answer 200 when database, storage and gateway answer, busy or not, else 503 with what does not."""
    return _answer(await _state(request) | await _storing(request))


async def show_ready_to_store(request: Request) -> Response:
    """Answer as `show_ready` does, but 503 when nothing more can be stored, too."""
    state = await _state(request)
    if "failed" not in state and (storing := await _storing(request)):
        state = {"status": "full", "failed": storing["storing"]}
    return _answer(state)


async def show_health(request: Request) -> Response:
    """Answer with the state, the version, the DICOMweb root as this request sees it, and what is not as it
    should be in what is stored: that costs itself alone, so the state stays what it is."""
    state = await _state(request) | await _storing(request)
    if "failed" not in state:
        pool = request.app.state.archive.pool
        if told := " ".join(
            filter(None, (advice(await unindexed_files(pool)), damage_advice(await damaged_files(pool))))
        ):
            state["advice"] = told
    return _answer(state | {"version": program_version(), "base_url": base_url(request)})


async def show_metrics(request: Request) -> Response:
    """Answer `/metrics`."""
    metrics: Metrics | None = getattr(request.app.state, "metrics", None)
    if metrics is None:
        return problem(404, "", "Metrics are counted by `dicomweb serve` only.")
    text = await run_in_threadpool(metrics.exposition) + await queues(request.app.state.statistics)
    return Response(text, 200, {"Cache-Control": "no-store"}, CONTENT_TYPE_LATEST)


async def _state(request: Request) -> dict[str, str]:
    state = request.app.state
    questions = [state.archive.ready]
    if (probe := getattr(state, "gateway_probe", None)) is not None:  # there is one when we serve DIMSE
        questions.append(probe.ask)
    busy = [
        f"All places for {kind.value} requests are taken." for kind, places in state.places.items() if places.is_full
    ]
    for ask in questions:
        try:
            await ask()
        except Busy as error:
            busy.append(str(error))
        except Unavailable as error:
            return {"status": "unavailable", "failed": str(error)}
    return {"status": "busy", "busy": " ".join(busy)} if busy else {"status": "ready"}


async def _storing(request: Request) -> dict[str, str]:
    """Say why nothing can be stored; a full disk is no reason to take reading away from everybody."""
    try:
        await request.app.state.archive.ready_to_store()
    except OutOfSpace as error:
        return {"storing": str(error)}
    except OSError:  # the state says so
        pass
    return {}


def _answer(facts: dict[str, str]) -> Response:
    headers = {"Cache-Control": "no-store"}
    if "failed" in facts:
        headers["Retry-After"] = "5"
    return Response(orjson.dumps(facts) + b"\n", 503 if "failed" in facts else 200, headers, "application/json")


ROUTES = [
    Route("/health/live", show_live),
    Route("/health/ready", show_ready),
    Route("/health/ready/storing", show_ready_to_store),
    Route("/health", show_health),
    Route("/metrics", show_metrics),
]
"""At the root of the server, not below the DICOMweb root."""
