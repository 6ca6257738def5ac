"""waitress, made strict: deadlines that a trickling client cannot put off, bodies in memory but not without end,
problem+json for what cannot be read, and an end that answers whatever is in flight.

waitress reads all requests in one thread and hands complete ones to its other threads: a slow client holds no thread.
"""

import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask
from waitress.utilities import (
    BadRequest,
    InternalServerError,
    RequestEntityTooLarge,
    RequestHeaderFieldsTooLarge,
    ServerNotImplemented,
)

from appconfig import Config
from imaging.door import MAX_BYTES
from problems import INTERNAL, ProblemError, too_large
from uploads import BODY_BYTES

Refusal = tuple[int, list[tuple[str, str]], bytes]  # status, headers, body
REASONS = {400: "Bad Request", 413: "Content Too Large", 431: "Request Header Fields Too Large",
           500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable"}  # fmt: skip
NEVER = 2**40  # bytes: waitress then writes no temporary file


class TooMuchHeld(BadRequest):
    """The bodies being received are too many bytes, all together."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
    except OSError:
        listening.close()
        raise
    return listening


def problem_of(error: object) -> ProblemError:
    """What to answer to a request that waitress could not read."""
    kind = type(error)
    if kind is RequestEntityTooLarge:
        return too_large(MAX_BYTES)
    if kind is TooMuchHeld:
        return ProblemError("busy", "too many images are being sent at once; try again in a second")
    if kind is RequestHeaderFieldsTooLarge:
        return ProblemError("headers-too-large", "the request's headers are too large")
    if kind is ServerNotImplemented:
        return ProblemError(
            "not-implemented", "this transfer coding is not supported; send the body as it is, or chunked"
        )
    if kind is InternalServerError:
        return ProblemError("internal", INTERNAL)
    return ProblemError("bad-request", "the request is not valid HTTP")


class Parser(HTTPRequestParser):
    """One request being received."""

    def __init__(self, adj: Adjustments, has_room: Callable[[int], bool], on_complete: Callable[[], None]):
        super().__init__(adj)
        self.has_room, self.on_complete = has_room, on_complete

    def received(self, data: bytes) -> int:
        if self.body_rcv is not None and not self.completed and not self.has_room(len(data)):
            self.error, self.completed, consumed = TooMuchHeld(""), True, len(data)
        else:
            consumed = super().received(data)
        if self.error:
            self.expect_continue = False  # else waitress would ask for the body of what it refuses
        if self.completed and not self.empty:
            self.on_complete()
        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        # waitress would go by the chunks; a proxy before it may go by the length, and see other requests than it does.
        if (self.chunked and "CONTENT_LENGTH" in self.headers) or "TRANSFER_ENCODING" in self.headers:
            raise ParsingError("ambiguous length")

    @property
    def held(self) -> int:
        return 0 if self.body_rcv is None else len(self.body_rcv)


class Task(WSGITask):
    """A request that the application answers."""

    def start(self) -> None:
        super().start()
        if self.channel.server.stopping:
            self.set_close_on_finish()


class Refused(ErrorTask):
    """A request that waitress could not read. The connection is closed after the answer."""

    def execute(self) -> None:
        status, headers, body = self.channel.server.refuse(problem_of(self.request.error))
        self.status = f"{status} {REASONS[status]}"
        self.response_headers.extend(headers)
        self.set_close_on_finish()
        self.content_length = len(body)
        self.channel.lingers = True
        self.write(body)


class Channel(HTTPChannel):
    """One connection."""

    task_class = Task
    error_task_class = Refused

    def __init__(self, server: "Server", sock: socket.socket, addr, adj: Adjustments, map=None):  # noqa: A002
        self.began: float | None = time.monotonic()  # the request being received; None: between two requests
        self.answered = self.began
        self.lingers = False  # the client may still be sending what nobody wants
        self.refused: float | None = None  # since when it is only listened to
        super().__init__(server, sock, addr, adj, map=map)

    def __repr__(self) -> str:
        return "<a connection>"  # waitress's own names the address, in its log

    def parser_class(self, adj: Adjustments) -> Parser:
        if self.began is None:
            self.began = time.monotonic()
        return Parser(adj, self.server.has_room, self.completed)

    def completed(self) -> None:
        self.began = None

    def service(self) -> None:
        super().service()
        self.answered = time.monotonic()

    def overdue(self, now: float) -> bool:
        """Whether the client has had its time, however busily it sends."""
        config = self.server.config
        if self.refused is not None:
            return now - self.refused > config.body_seconds
        if self.requests:
            return False  # it is our turn
        if self.total_outbufs_len:
            return now - self.answered > config.body_seconds
        if self.began is None:
            return False  # idle: waitress counts these seconds
        in_body = self.request is not None and self.request.headers_finished
        return now - self.began > config.header_seconds + (config.body_seconds if in_body else 0)

    @property
    def idle(self) -> bool:
        return not (self.requests or self.total_outbufs_len or self.close_when_flushed or self.request)

    @property
    def held(self) -> int:
        """Bytes of the bodies that it has sent and that are not answered."""
        request = self.request
        return sum(r.held for r in list(self.requests)) + (request.held if request else 0)

    # A refused client is usually still sending. Closing at once would reset the connection, and the client might
    # never see the answer; so its half is closed first, and what it sends is thrown away for a while.

    def handle_write(self) -> None:
        if self.lingers and self.close_when_flushed and not self.will_close and self.connected:
            self._flush_exception(self._flush_some)
            if self.total_outbufs_len == 0 and self.connected and not self.will_close:
                self.refused, self.close_when_flushed = time.monotonic(), False
                try:
                    self.socket.shutdown(socket.SHUT_WR)
                except OSError:
                    self.will_close = True
            return
        super().handle_write()

    def received(self, data: bytes) -> bool:
        return False if self.refused is not None else super().received(data)


class Server(TcpWSGIServer):
    """Serves an application on one listening socket until it is told to stop."""

    channel_class = Channel

    def __init__(self, app, listening: socket.socket, config: Config, refuse: Callable[[ProblemError], Refusal]):
        self.config, self.refuse = config, refuse
        self.stopping: float | None = None  # since when
        adjustments = Adjustments(
            sockets=[listening],
            threads=config.threads,
            ident="",
            max_request_body_size=BODY_BYTES + 1,
            max_request_header_size=32 * 2**10,
            inbuf_overflow=NEVER,
            outbuf_overflow=NEVER,
            recv_bytes=2**16,
            connection_limit=config.connections,
            channel_timeout=config.idle_seconds,
            cleanup_interval=1,
            channel_request_lookahead=1,  # so that a client's leaving is noticed
            log_socket_errors=False,
        )
        dispatcher = ThreadedTaskDispatcher()
        dispatcher.set_thread_count(adjustments.threads)
        where = (listening.family, listening.type, listening.proto, listening.getsockname())
        super().__init__(
            app, {}, True, listening, dispatcher=dispatcher, adj=adjustments, sockinfo=where, bind_socket=False
        )

    def maintenance(self, now: float) -> None:
        super().maintenance(now)
        now = time.monotonic()
        for channel in list(self.active_channels.values()):
            if channel.overdue(now):
                channel.will_close = True

    def has_room(self, more: int) -> bool:
        """Whether so many bytes more of some body may be kept."""
        return sum(channel.held for channel in self.active_channels.values()) + more <= self.config.held_bytes

    def stop(self) -> None:
        """Accept nothing new, answer what is in flight, then let `run` return. From any thread, or a signal."""
        self.stopping = self.stopping or time.monotonic()
        self.pull_trigger()

    def run(self) -> None:
        while self.stopping is None:
            wasyncore.loop(timeout=1, map=self._map, count=1)
        wasyncore.loop(timeout=0, map=self._map, count=1)  # whoever has connected by now is served
        wasyncore.dispatcher.close(self)
        while self.active_channels and time.monotonic() - self.stopping < self.config.grace_seconds:
            self.maintenance(time.time())
            for channel in list(self.active_channels.values()):
                if channel.idle:
                    channel.will_close = True
            wasyncore.loop(timeout=0.1, map=self._map, count=1)
        self.task_dispatcher.shutdown(timeout=1)
        wasyncore.close_all(self._map)


def describe(listening: socket.socket) -> str:
    """The address of a listening socket, for people."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not listened on
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def end_at_once(status: int) -> None:
    """End the process now, whatever its threads do.

    Python's own way out waits for no daemon thread and stops each of them at its next need of the interpreter. One that
    is inside a destructor of torch then ends the process with SIGABRT instead of its exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # nobody reads any more, closed, none
            stream.flush()
    os._exit(status)
