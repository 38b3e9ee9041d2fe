"""QMP: QEMU's control channel, as blocking calls. Spoken by qemu.qmp in the loop's thread."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from qemu.qmp import (
    ConnectError,
    EventListener,
    ExecInterruptedError,
    ExecuteError,
    QMPClient,
    QMPError,
    Runstate,
)

from coronel.errors import MonitorError
from coronel.guest.loop import loop_thread

logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())
logging.getLogger("qemu.qmp").propagate = False  # a guest that ends mid-sentence is our news, not a log line

GREETING_TIMEOUT = 10.0


class Monitor:
    """One QMP session over a connected socket. `on_event` is called in the loop's thread."""

    def __init__(self, on_event: Callable[[Mapping[str, Any]], None]) -> None:
        self._client = QMPClient("coronel")
        self._on_event = on_event
        self._pump: asyncio.Task[None] | None = None
        self.version = (0, 0, 0)

    def connect(self, port: socket.socket) -> None:
        """Waits for the greeting and negotiates. The socket is the session's from now on."""
        try:
            loop_thread().run(self._connect(port), GREETING_TIMEOUT)
        except TimeoutError:
            raise MonitorError(
                f"QMP did not greet within {GREETING_TIMEOUT:.0f} s: is that really QEMU?"
            ) from None
        except (ConnectError, EOFError, OSError) as error:
            raise MonitorError(f"QMP could not be negotiated: {error}") from None

    def execute(self, command: str, arguments: Mapping[str, Any] | None = None, timeout: float = 10.0) -> Any:
        """The command's return value; MonitorError with QMP's text otherwise."""
        try:
            return loop_thread().run(self._client.execute(command, dict(arguments or {}) or None), timeout)
        except ExecuteError as error:
            raise MonitorError(f"QMP {command}: {error}") from None
        except TimeoutError:
            raise MonitorError(f"QMP {command} was not answered within {timeout:g} s") from None
        except (ExecInterruptedError, QMPError, EOFError, OSError) as error:
            raise MonitorError(f"QMP {command}: QEMU closed the connection ({error})") from None

    async def finished(self) -> None:
        """Returns when no event can come any more: QEMU has closed the connection. In the loop's thread."""
        if self._pump is None:
            return  # never connected: connect() cleans up after itself
        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()
        await asyncio.sleep(0)  # the pump's turn: events that had arrived
        self._pump.cancel()
        if self._client.runstate is not Runstate.IDLE:
            await self._disconnect()

    async def _connect(self, port: socket.socket) -> None:
        listener = EventListener()
        self._client.register_listener(listener)
        await self._client.connect(port)
        greeting = self._client.greeting
        if greeting is not None:
            numbers: Any = greeting.QMP.version["qemu"]
            self.version = (numbers["major"], numbers["minor"], numbers["micro"])

        async def pump() -> None:
            async for event in listener:
                self._on_event(event)

        self._pump = asyncio.get_running_loop().create_task(pump())

    async def _disconnect(self) -> None:
        with suppress(QMPError, EOFError, OSError):  # how it ended is known from the process
            await self._client.disconnect()
