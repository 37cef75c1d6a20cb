"""A running `zrb-store page`."""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from tests.support.postgres import DEADLINE

PROGRAM = "from zrb_store.cli import main; main()"


class Server:
    """A running `zrb-store page`.

    Requests carry the token of its address.

    Attributes:
        address: The address that it printed.
    """

    def __init__(self, location: str, *options: str, before: str = "", descriptors: int | None = None) -> None:
        """Start it.

        Args:
            location: Its store.
            *options: Its options.
            before: Python that runs before it.
            descriptors: How many file descriptors it may have.
        """
        self._popen = subprocess.Popen(
            [sys.executable, "-c", f"{before}\n{PROGRAM}", "page", "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "ZRB_STORE_URL": location},
            start_new_session=True,
            preexec_fn=None if descriptors is None else functools.partial(_limit, descriptors),
        )
        self.pid = self._popen.pid
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        assert line.startswith("http://"), self._popen.communicate()[1]
        self.address = line.split()[0]
        self.port = urlsplit(self.address).port
        token = dict(parse_qsl(urlsplit(self.address).query)).get("token")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection to it."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)

    def get(self, target: str, **headers: str) -> tuple[int, str]:
        """Return the status and the text of a page."""
        with contextlib.closing(self.connect()) as connection:
            connection.request("GET", target, headers={**self._headers, **headers})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    @contextlib.contextmanager
    def events(self, after: str = "") -> Iterator[Iterator[str]]:
        """Yield the lines of the stream of changes."""
        with contextlib.closing(self.connect()) as connection:
            connection.request("GET", f"/events?after={after}", headers=self._headers)
            answer = connection.getresponse()
            assert answer.getheader("Content-Type", "").startswith("text/event-stream")
            yield (line.decode().rstrip("\n") for line in answer)

    def end(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        """Send a signal; return the exit code, and what it printed to stderr."""
        self._popen.send_signal(number)
        _, err = self._popen.communicate(timeout=DEADLINE)
        return self._popen.returncode, err

    def close(self) -> None:
        """Kill it, if it runs."""
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.communicate()


def _limit(descriptors: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
