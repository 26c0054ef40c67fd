"""What depends on the event loop runs on asyncio's own and on uvloop, as the upper layer does."""

from tests.dicomweb.dimse.conftest import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
