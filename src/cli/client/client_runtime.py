"""A client of hrmr's procedures. It needs Python 3.9 or newer, and no package."""

from __future__ import annotations

import itertools
import json
import queue
import socket
import ssl
import threading
import time
from typing import Any, Iterator, Optional


class CallError(Exception):
    """The failure of a call. `code` is the service's own word, such as "NO_FUNDS" or "TIMEOUT", or "DISCONNECTED"."""

    def __init__(self, code: str, message: str, data: Any = None, rpc_code: int = 0) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.data = data
        self.rpc_code = rpc_code


class _Procedures:
    def __init__(self, client: "Client", module: str) -> None:
        self._client = client
        self._module = module

    def __getattr__(self, name: str) -> Any:
        method = f"{self._module}.{name}"

        def call(params: Any = None, /, timeout: Optional[float] = None, **fields: Any) -> Any:
            if params is None:
                params = fields or None
            elif fields:
                raise TypeError("give the input as one object or by its fields, not both")
            return self._client.call(method, params, timeout)

        return call


class Client:
    """One connection, opened at the first call and again after it was lost. Threads may share a client."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8080,
        *,
        path: Optional[str] = None,
        token: Optional[str] = None,
        tls: Optional[ssl.SSLContext] = None,
        timeout: float = 30.0,
    ) -> None:
        self._where = (host, port)
        self._path = path
        self._token = token
        self._tls = tls
        self._timeout = timeout
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._pending: dict[int, "queue.SimpleQueue[Any]"] = {}
        self._socket: Optional[socket.socket] = None
        self._failures = 0

    def __getattr__(self, module: str) -> _Procedures:
        if module.startswith("_"):
            raise AttributeError(module)
        return _Procedures(self, module)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def call(self, method: str, params: Any = None, timeout: Optional[float] = None) -> Any:
        """Calls a procedure. The parts of a streamed result become a list."""
        parts = []
        for is_last, value in self._ask(method, params, self._timeout if timeout is None else timeout):
            if is_last:
                return parts if parts else value
            parts.append(value)

    def stream(self, method: str, params: Any = None) -> Iterator[Any]:
        """Calls a procedure with a streamed result. Leaving the loop cancels the call."""
        for is_last, value in self._ask(method, params, None):
            if is_last:
                return
            yield value

    def close(self) -> None:
        with self._lock:
            connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()

    def _ask(self, method: str, params: Any, timeout: Optional[float]) -> Iterator[tuple[bool, Any]]:
        answers: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        number = next(self._ids)
        message = {"jsonrpc": "2.0", "id": number, "method": method}
        if params is not None:
            message["params"] = params
        deadline = None if not timeout else time.monotonic() + timeout
        is_over = False
        self._pending[number] = answers
        try:
            self._send(message)
            while True:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                try:
                    answer = answers.get(timeout=left)
                except queue.Empty:
                    raise CallError("TIMEOUT", f"{method} did not answer within {timeout} s") from None
                if isinstance(answer, CallError):
                    is_over = True
                    raise answer
                if answer.get("method") == "$/next":
                    yield False, answer["params"]["value"]
                    continue
                is_over = True
                error = answer.get("error")
                if error is not None:
                    data = error.get("data")
                    code = data.get("code") if isinstance(data, dict) else None
                    raise CallError(str(code or error["code"]), error["message"], data, error["code"])
                yield True, answer.get("result")
                return
        finally:
            self._pending.pop(number, None)
            if not is_over:
                try:
                    self._send({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": number}})
                except CallError:
                    pass

    def _send(self, message: Any) -> None:
        line = json.dumps(message).encode() + b"\n"
        with self._lock:
            try:
                if self._socket is None:
                    self._socket = self._connect()
                self._socket.sendall(line)
            except OSError as error:
                self._socket = None
                raise CallError("DISCONNECTED", f"hrmr cannot be reached: {error}") from error

    def _connect(self) -> socket.socket:
        if self._failures > 0:
            time.sleep(min(5.0, 0.05 * 2**self._failures))
        self._failures += 1
        if self._path is not None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.connect(self._path)
        else:
            connection = socket.create_connection(self._where, timeout=10)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_hostname=self._where[0])
        connection.settimeout(None)
        lines = connection.makefile("rb")
        if self._token is not None:
            connection.sendall(f"AUTH {self._token}\n".encode())
            answer = lines.readline().decode().strip()
            if not answer.startswith("OK"):
                connection.close()
                raise CallError("UNAUTHORIZED", f"hrmr refused the token: {answer or 'it closed the connection'}")
        self._failures = 0
        threading.Thread(target=self._read, args=(connection, lines), daemon=True).start()
        return connection

    def _read(self, connection: socket.socket, lines: Any) -> None:
        reason = "the connection to hrmr was lost"
        try:
            for line in lines:
                answer = json.loads(line)
                number = answer["params"]["id"] if answer.get("method") == "$/next" else answer.get("id")
                waiting = self._pending.get(number)
                if waiting is not None:
                    waiting.put(answer)
        except (OSError, ValueError) as error:
            reason = f"{reason}: {error}"
        with self._lock:
            if self._socket is connection:
                self._socket = None
        for waiting in list(self._pending.values()):
            waiting.put(CallError("DISCONNECTED", reason))
