"""The process that the server runs in: it lasts as long as the demo, however that ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final

import uvicorn

from supervisor.commands.demo.plan import DemoError
from supervisor.commands.demo.server import Server

HOST: Final = "127.0.0.1"


@contextmanager
def server_process(patience: float = 5.0) -> Generator[str, None, None]:
    """Run the server in a process of its own during the block, and give its base URL.

    Args:
        patience: seconds that it gets to end by itself.

    Raises:
        DemoError: it has not started.
    """
    # In a session of its own: Ctrl-C is the demo's to handle, which then ends the server.
    with subprocess.Popen(  # noqa: S603  (nothing of the command comes from outside)
        [sys.executable, "-c", f"from {__name__} import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            port = child.stdout.readline().strip()
            if not port:
                raise DemoError("the demo's server has not started")
            yield f"http://{HOST}:{port}"
        finally:
            child.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                child.wait(patience)
            child.kill()  # does nothing to a process that has ended


def serve(lifeline: int = 0) -> None:
    """Serve on a free port, which is printed, until the file `lifeline` reaches its end.

    By default that is the standard input: the other end of it closes even if the demo is
    killed.
    """
    config = uvicorn.Config(
        Server(),
        lifespan="off",
        access_log=False,
        log_config=None,
        timeout_keep_alive=3600,  # an agent may leave its connection idle for a whole outage
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    threading.Thread(target=_end_with, args=(lifeline, server), daemon=True).start()
    with socket.create_server((HOST, 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        server.run(sockets=[listener])


def _end_with(lifeline: int, server: uvicorn.Server) -> None:
    # Not by `sys.stdin`: its lock, held by this thread, would be in the way of an exit.
    while os.read(lifeline, 1024):
        pass
    server.should_exit = True
