"""The web server under the review: waitress, with bounds on what a stranger may cost it.

Every user of the machine reaches a port on the loopback. Before a request has shown the token it
may take a connection, but not for long, and it may not send more than a rating is large.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Self

from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer

# A rating with its longest note takes some 3 KB.
MAX_BODY = 64 << 10
# A browser sends a request at once; one that dribbles in is none.
SLOW_S = 10.0
# Open connections at most; a browser has six. Beyond, those that have said nothing for long go.
CONNECTIONS = 400
PRESSED_S = 1.0


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection that knows when the request that it is receiving began."""

    begun = 0.0

    def received(self, data: bytes) -> bool:
        """Take some bytes of a request."""
        if self.request is None:
            self.begun = time.time()
        return bool(super().received(data))


class Listener(TcpWSGIServer):  # type: ignore[misc]
    """A server of one machine that closes connections which do not become a request."""

    channel_class = _Channel

    @classmethod
    def on(cls, app: Any, host: str, port: int) -> Self:
        """Listen.

        Raises
        ------
        OSError
            When the port is taken.
        """
        # Its log would tell the addresses of requests, which hold the token.
        logging.getLogger("waitress").setLevel(logging.CRITICAL)
        return cls(
            app,
            host=host,
            port=port,
            threads=8,
            ident=None,
            max_request_body_size=MAX_BODY,
            max_request_header_size=16 << 10,
            inbuf_overflow=2 * MAX_BODY,
            channel_timeout=SLOW_S,
            cleanup_interval=1,
            connection_limit=2 * CONNECTIONS,
            backlog=CONNECTIONS,
            asyncore_use_poll=True,
        )

    def maintenance(self, now: float) -> None:
        """Close connections that are idle, or whose request takes too long to arrive."""
        patience = SLOW_S if len(self.active_channels) < CONNECTIONS else PRESSED_S
        for channel in list(self.active_channels.values()):
            since = channel.last_activity if channel.request is None else channel.begun
            if not channel.requests and now - since > patience:
                channel.will_close = True
