"""Web pages of this host, fetched without a proxy, whatever the environment names."""

from __future__ import annotations

from urllib.request import ProxyHandler, build_opener

_opener = build_opener(ProxyHandler({}))


def fetch(url: str, timeout: float = 10.0) -> str:
    """The text of a page; raises OSError."""
    with _opener.open(url, timeout=timeout) as page:
        return str(page.read().decode())
