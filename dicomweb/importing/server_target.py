"""Importing into a running server by STOW-RS: several files a request, several requests at once (PS3.18 10.5).

What is done with an answer:

- It tells about instances: each file gets its own result. Files that it cannot be matched to (it names instances, not
  files) or does not name at all are sent once more, alone; storing the same bytes twice is a success. A file that it
  does not name then either is refused, to be tried another time.
- It is a success without a body: everything is stored.
- It refuses the request because of what is in it (400, 409, 413, 422, 500): each file is sent alone.
- The server is busy or was restarted (408, 429, 502, 503, 504, no answer): the request is repeated after a pause.
- Anything else, such as 401, 404 or 507, will be the answer to every request: the import stops.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from dicomweb.importing.found_file import Found
from dicomweb.importing.opened_file import refused
from dicomweb.importing.part import Part
from dicomweb.importing.results import Result, Status
from dicomweb.importing.stow_answer import Answer
from dicomweb.importing.stow_client import FileChanged, Server, ServerGone, StowClient
from dicomweb.importing.target import TargetLost

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds before each further attempt."""

_BUSY = frozenset({408, 429, 502, 503, 504})
_BECAUSE_OF_A_FILE = frozenset({400, 409, 413, 422, 500})


class ServerTarget:
    """A running server.

    Parameters
    ----------
    server : Server
        Where it is.
    jobs : int
        Requests at once.
    """

    def __init__(self, server: Server, jobs: int) -> None:
        self._server = server
        self._clients = [StowClient(server) for _ in range(jobs)]
        self._idle: SimpleQueue[StowClient] = SimpleQueue()
        for client in self._clients:
            self._idle.put(client)
        self._threads = ThreadPoolExecutor(jobs, thread_name_prefix="stow")
        self._winding_up = threading.Event()

    async def send(self, batch: Sequence[Found]) -> list[Result]:
        """Send files in one request, or in more when that fails; raises TargetLost."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._send, batch)

    def wind_up(self) -> None:
        """Do not ask a busy server again; what is being sent may still succeed."""
        self._winding_up.set()

    def abort(self) -> None:
        """Break off what is being sent."""
        self.wind_up()
        for client in self._clients:
            client.abort()

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.to_thread(self._threads.shutdown)
        for client in self._clients:
            client.close()

    def _send(self, batch: Sequence[Found]) -> list[Result]:
        looked_at = [Part.of(file) for file in batch]
        parts = [part for part in looked_at if isinstance(part, Part)]
        client = self._idle.get()
        try:
            sent = iter(self._deliver(client, parts))
        finally:
            self._idle.put(client)
        return [next(sent) if isinstance(each, Part) else each for each in looked_at]

    def _deliver(self, client: StowClient, parts: Sequence[Part]) -> list[Result]:
        """Send parts; one result each."""
        if not parts:
            return []
        try:
            answer = self._store(client, parts)
        except FileChanged as error:
            before, after = parts[: error.number], parts[error.number + 1 :]
            results = self._deliver(client, [*before, *after])
            failed = refused(parts[error.number].file, str(error), again=True)
            return [*results[: error.number], failed, *results[error.number :]]
        if len(parts) == 1:
            return [self._alone(parts[0], answer)]
        if answer.all_stored(len(parts)) and not answer.replaced:
            return [_stored(part) for part in parts]
        if not answer.told and answer.status not in _BECAUSE_OF_A_FILE:
            raise self._lost(answer)
        uids = [part.sop_instance_uid() for part in parts]
        times = Counter(uids)
        results = []
        for part, uid in zip(parts, uids, strict=True):
            clear = uid and times[uid] == 1 and (uid in answer.stored) != (uid in answer.failed)
            if clear and uid in answer.stored:
                results.append(_stored(part, replaced=uid in answer.replaced))
            elif clear:
                failure = answer.failed[uid]
                results.append(refused(part.file, failure.reason, again=failure.again))
            else:
                results += self._deliver(client, [part])
        return results

    def _alone(self, part: Part, answer: Answer) -> Result:
        """Read the answer to a request with one part: whatever it says is about that."""
        if answer.all_stored(1):
            return _stored(part, replaced=bool(answer.replaced))
        for failure in (*answer.failed.values(), *answer.others):
            return refused(part.file, failure.reason, again=failure.again)
        if answer.told and answer.success:
            reason = f"The server answered {answer.detail} but did not say that the file is stored"
            return refused(part.file, reason, again=True)
        if answer.status not in _BECAUSE_OF_A_FILE:
            raise self._lost(answer)
        return refused(part.file, f"The server answered {answer.detail}", again=answer.status >= 500)

    def _store(self, client: StowClient, parts: Sequence[Part]) -> Answer:
        """Send one request, again and again while the server is busy or away."""
        for pause in (*PAUSES, None):
            try:
                answer = client.store(parts)
                if answer.status not in _BUSY:
                    return answer
                problem = f"answers {answer.detail}"
            except ServerGone as error:
                problem = f"cannot be reached: {error}"
            if pause is None or self._winding_up.wait(pause):
                break
        raise TargetLost(f"the server {self._server.shown} {problem}")

    def _lost(self, answer: Answer) -> TargetLost:
        hint = ""
        if answer.status in (200, 404, 405) or 300 <= answer.status < 400:
            hint = "; is this the URL of its DICOMweb root?"
        return TargetLost(f"the server {self._server.shown} answers {answer.detail}{hint}")


def _stored(part: Part, *, replaced: bool = False) -> Result:
    status = Status.REPLACED if replaced else Status.STORED
    return Result(part.file.name, status, "", part.size, part.file.key())
