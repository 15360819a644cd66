"""The files of the status page, read once."""

from __future__ import annotations

from importlib.resources import files

from gossipcontrol.server.status_page.site import Answer, Handler, Request

TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}


def asset_routes() -> dict[str, Handler]:
    """The page at ``/``, and its files below ``/static``."""
    routes: dict[str, Handler] = {}
    for file in files("gossipcontrol.server.status_page").joinpath("static").iterdir():
        path = "/" if file.name == "index.html" else f"/static/{file.name}"
        routes[path] = _serve(file.read_bytes(), TYPES[file.name.rpartition(".")[2]])
    return routes


def _serve(body: bytes, content_type: str) -> Handler:
    def answer(request: Request) -> Answer:
        del request
        return Answer([body], content_type, headers=(("Cache-Control", "no-cache"),))

    return answer
