"""Processes that last as long as the demo, however that ends: the one of the server, and others."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

import uvicorn

from supervisor.commands.demo.plan import DemoError
from supervisor.commands.demo.server import Server

HOST: Final = "127.0.0.1"


@contextmanager
def kept_process(
    module: str, function: str, patience: float = 5.0
) -> Generator[subprocess.Popen[str], None, None]:
    """Run a function in a process of its own during the block.

    It has a session of its own, since Ctrl-C is the demo's to handle; it is to end by itself when
    its standard input does, whose other end closes even if the demo is killed.

    Args:
        module: where the function is.
        function: its name.
        patience: seconds that it gets to end by itself.
    """
    with subprocess.Popen(  # noqa: S603  (nothing of the command comes from outside)
        [sys.executable, "-c", f"from {module} import {function}; {function}()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as child:
        assert child.stdin is not None
        try:
            yield child
        finally:
            with suppress(BrokenPipeError):  # of one that has ended, and was told something
                child.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                child.wait(patience)
            child.kill()  # does nothing to a process that has ended


def tell(child: subprocess.Popen[str], line: str) -> None:
    """Give a process a line to read; whether it is still there shows elsewhere."""
    with suppress(BrokenPipeError):
        print(line, file=child.stdin, flush=True)


@contextmanager
def server_process(patience: float = 5.0) -> Generator[str, None, None]:
    """Run the server in a process of its own during the block, and give its base URL.

    Args:
        patience: seconds that it gets to end by itself.

    Raises:
        DemoError: it has not started.
    """
    with kept_process(__name__, "serve", patience) as child:
        assert child.stdout is not None
        port = child.stdout.readline().strip()
        if not port:
            raise DemoError("the demo's server has not started")
        yield f"http://{HOST}:{port}"


def serve(lifeline: int = 0) -> None:
    """Serve on a free port, which is printed, until the file `lifeline` reaches its end."""
    config = uvicorn.Config(
        Server(),
        lifespan="off",
        access_log=False,
        log_config=None,
        timeout_keep_alive=3600,  # an agent may leave its connection idle for a whole outage
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    ending = partial(setattr, server, "should_exit", True)
    threading.Thread(target=end_with, args=(lifeline, ending), daemon=True).start()
    with socket.create_server((HOST, 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        server.run(sockets=[listener])


def end_with(lifeline: int, end: Callable[[], object]) -> None:
    """Call `end` when that file has reached its end."""
    # Not by `sys.stdin`: its lock, held by a thread, would be in the way of an exit.
    while os.read(lifeline, 1024):
        pass
    end()
