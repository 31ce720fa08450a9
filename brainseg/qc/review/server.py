"""The review server: a local page on which a study is rated by keyboard."""

from __future__ import annotations

import hmac
import json
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Set
from dataclasses import asdict
from pathlib import Path
from typing import Any

import flask
from markupsafe import Markup
from waitress.server import create_server
from werkzeug.exceptions import HTTPException
from werkzeug.security import safe_join

from brainseg.errors import BrainsegError, DataError, NoInputError, TemporaryError
from brainseg.qc.measure.levels import SYMBOLS, WORDS
from brainseg.qc.measure.numbers import LOOKED_AT
from brainseg.qc.review import ratings, study
from brainseg.qc.review.ratings import Rating
from brainseg.qc.templating import environment, styles, text

log = logging.getLogger(__name__)
HOST = "127.0.0.1"
SERVED = (".html", ".nii.gz", ".webp", ".json", ".tsv")
# Keys of the left hand, so that one hand rates, tags and goes on.
TAG_KEYS = dict(zip(ratings.TAGS, "qwerasdx", strict=True))
MAX_BODY = 20_000


def serve(
    out: Path,
    *,
    port: int = 0,
    rater: str = "",
    on_ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve the review of an output folder until interrupted.

    Parameters
    ----------
    out : Path
        Output folder with reports.
    port : int
        0 takes a free one.
    rater : str
        Name to start with; the page asks where it is empty.
    on_ready : callable
        Told the URL, which holds the secret token.

    Raises
    ------
    NoInputError
        When the folder holds no report.
    TemporaryError
        When the port is taken.
    """
    if not out.is_dir() or not study.entries(out):
        raise NoInputError(f"{out.name}: no reports (*_report.html) here; run brainseg on it first")
    token = secrets.token_urlsafe(24)
    app = create_app(out, token, rater=rater)
    try:
        server = create_server(app, host=HOST, port=port, threads=4, ident=None)
    except OSError as error:
        raise TemporaryError(
            f"port {port} cannot be used ({error.strerror}); name another"
        ) from error
    bound = int(server.effective_port)
    app.config["HOSTS"] = {f"{HOST}:{bound}", f"localhost:{bound}"}
    on_ready(f"http://{HOST}:{bound}/{token}/")
    server.run()


def create_app(out: Path, token: str, *, rater: str = "") -> flask.Flask:
    """Build the application; it answers nobody until ``config["HOSTS"]`` names its hosts."""
    root = out.resolve()
    app = flask.Flask("brainseg.qc.review.server", static_folder=None, template_folder=None)
    app.config.update(HOSTS=set(), MAX_CONTENT_LENGTH=MAX_BODY)
    known: set[str] = set()

    @app.before_request
    def guard() -> None:
        # A page of another site that resolves to this address (DNS rebinding) has another Host.
        if flask.request.host not in app.config["HOSTS"]:
            flask.abort(403)
        given = (flask.request.view_args or {}).get("token", "")
        if not hmac.compare_digest(str(given).encode(), token.encode()):
            flask.abort(404)
        if flask.request.method not in ("GET", "HEAD"):
            origin = flask.request.headers.get("Origin", "")
            if origin != f"http://{flask.request.host}":
                flask.abort(403)

    @app.after_request
    def harden(response: flask.Response) -> flask.Response:
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Frame-Options"] = "SAMEORIGIN"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.errorhandler(HTTPException)
    def plainly(error: HTTPException) -> tuple[str, int]:
        return f"{error.code} {error.name}\n", int(error.code or 500)

    @app.errorhandler(BrainsegError)
    def explained(error: BrainsegError) -> tuple[dict[str, str], int]:
        return {"error": str(error)}, 400 if isinstance(error, DataError) else 500

    @app.get("/<token>/")
    def page(token: str) -> flask.Response:
        nonce = secrets.token_urlsafe(16)
        html = (
            environment()
            .get_template("review.html.j2")
            .render(
                css=styles("page.css", "review.css"),
                script=Markup(text("review.js")),
                nonce=nonce,
                study=root.name,
                rater=rater,
                ratings=ratings.RATINGS,
                tags=ratings.TAGS,
                tag_keys=TAG_KEYS,
                symbols=Markup(json.dumps({k: f"{SYMBOLS[k]} {WORDS[k]}" for k in WORDS})),
            )
        )
        response = flask.Response(html, mimetype="text/html")
        response.headers["Content-Security-Policy"] = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; "
            "img-src data:; connect-src 'self'; frame-src 'self'; frame-ancestors 'none'; "
            "base-uri 'none'; form-action 'none'"
        )
        return response

    @app.get("/<token>/api/state")
    def state(token: str) -> dict[str, Any]:
        return overview(root)

    @app.post("/<token>/api/rate")
    def rate(token: str) -> dict[str, Any]:
        content = flask.request.get_json()
        # The folder is not read again for every key that is pressed.
        if not isinstance(content, dict) or content.get("scan") not in known:
            known.update(e.scan for e in study.entries(root))
        kept = ratings.append(root, _rating(content, known))
        pairs = ratings.agreement(ratings.read(root))
        return {"kept": asdict(kept), "agreement": [asdict(k) for k in pairs]}

    @app.post("/<token>/api/undo")
    def undo(token: str) -> dict[str, Any]:
        back = ratings.undo(root, str(flask.request.get_json().get("rater", "")))
        return {"undone": None if back is None else asdict(back)}

    @app.get("/<token>/files/<path:name>")
    def file(token: str, name: str) -> flask.Response:
        joined = safe_join(str(root), name)
        path = None if joined is None else Path(joined).resolve()
        if (
            path is None
            or not path.is_relative_to(root)
            or any(p.startswith(".") for p in path.relative_to(root).parts)
            or not path.name.endswith(SERVED)
            or not path.is_file()
        ):
            flask.abort(404)
        return flask.send_file(path)

    return app


def overview(out: Path) -> dict[str, Any]:
    """Return scans, ratings that stand and agreement, as the page wants them."""
    found = study.entries(out)
    rows = ratings.read(out)
    odd = Counter(o.scan for o in study.outliers({e.scan: e.numbers for e in found}, LOOKED_AT))
    mine: dict[str, dict[str, dict[str, Any]]] = {}
    for (scan, rater), rating in ratings.standing(rows).items():
        mine.setdefault(rater, {})[scan] = asdict(rating)
    return {
        "scans": [
            {
                "scan": e.scan,
                "report": e.report,
                "verdict": e.verdict,
                "reasons": e.reasons,
                "outliers": odd[e.scan],
            }
            for e in found
        ],
        "ratings": mine,
        "agreement": [asdict(k) for k in ratings.agreement(rows)],
    }


def _rating(content: Any, scans: Set[str]) -> Rating:
    """Check what the page sent."""
    if not isinstance(content, dict):
        raise DataError("a rating is an object")
    scan = str(content.get("scan", ""))
    if scan not in scans:
        raise DataError(f"no scan {scan!r} in this study")
    try:
        return Rating(
            scan=scan,
            rater=str(content.get("rater", ""))[:40],
            rating=str(content.get("rating", "")),
            tags=tuple(map(str, content.get("tags", ()))),
            flags=tuple(f for f in map(str, content.get("flags", ())) if f.isalnum()),
            notes=str(content.get("notes", "")),
            seconds=min(max(float(content.get("seconds", 0)), 0.0), 86400.0),
        )
    except (TypeError, ValueError) as error:
        raise DataError(f"the rating cannot be read ({error})") from error
