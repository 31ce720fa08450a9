"""The review server: a local page on which a study is rated by keyboard."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Set
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any

import flask
from markupsafe import Markup
from werkzeug.exceptions import HTTPException
from werkzeug.security import safe_join

from brainseg.errors import BrainsegError, DataError, NoInputError, TemporaryError
from brainseg.qc.measure.levels import SYMBOLS, WORDS
from brainseg.qc.measure.numbers import LOOKED_AT
from brainseg.qc.review import ratings, study
from brainseg.qc.review.listening import MAX_BODY, Listener
from brainseg.qc.review.ratings import Rating
from brainseg.qc.templating import own_scripts, render, script, styles

log = logging.getLogger(__name__)
HOST = "127.0.0.1"
SERVED = (".html", ".nii.gz", ".nii", ".webp", ".json", ".tsv")
# Keys of the left hand, so that one hand rates, tags and goes on.
TAG_KEYS = dict(zip(ratings.TAGS, "qwerasdx", strict=True))
HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Page:
    """Everything that the page of a review shows.

    Attributes
    ----------
    css, script : Markup
    nonce : str
        Lets this page's own script run, and no other.
    study : str
        Name of the output folder.
    rater : str
        Who rates to start with.
    symbols : Markup
        Sign and word of each verdict, as JSON.
    tags : tuple of str
    tag_keys : mapping of tag to key
    ratings : tuple of (rating, key)
    """

    css: Markup
    script: Markup
    nonce: str
    study: str
    rater: str
    symbols: Markup
    tags: tuple[str, ...] = ratings.TAGS
    tag_keys: Mapping[str, str] = field(default_factory=lambda: TAG_KEYS)
    ratings: tuple[tuple[str, str], ...] = ratings.RATINGS


@dataclass
class Review:
    """A review that is being served.

    Attributes
    ----------
    root : Path
        The output folder, resolved.
    token : str
        The secret in every address.
    rater : str
        Name to start with.
    hosts : set of str
        What a request may call this server; nobody is answered as long as it is empty.
    scans : set of str
        Those seen so far, so that the folder is not read again for every key that is pressed.
    """

    root: Path
    token: str
    rater: str = ""
    hosts: set[str] = field(default_factory=set)
    scans: set[str] = field(default_factory=set)


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
    review = Review(out.resolve(), secrets.token_urlsafe(24), rater)
    try:
        server = Listener.on(create_app(review), HOST, port)
    except OSError as error:
        raise TemporaryError(
            f"port {port} cannot be used ({error.strerror}); name another"
        ) from error
    bound = int(server.effective_port)
    review.hosts |= {f"{HOST}:{bound}", f"localhost:{bound}"}
    on_ready(f"http://{HOST}:{bound}/{review.token}/")
    server.run()


class _App(flask.Flask):
    """Flask, but the address of a request that failed, which holds the token, is not logged."""

    def log_exception(
        self,
        exc_info: tuple[type, BaseException, TracebackType] | tuple[None, None, None],
    ) -> None:
        log.error("a request of the review failed", exc_info=exc_info)


def create_app(review: Review) -> flask.Flask:
    """Build the application: every address begins with the review's token."""
    app = _App("brainseg.qc.review.server", static_folder=None, template_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=MAX_BODY)
    app.before_request(partial(_guard, review))
    app.after_request(_harden)
    app.register_error_handler(HTTPException, _plainly)
    app.register_error_handler(BrainsegError, _explained)
    for rule, method, answer in (
        ("/", "GET", _page),
        ("/api/state", "GET", _state),
        ("/api/rate", "POST", _rate),
        ("/api/undo", "POST", _undo),
        ("/files/<path:name>", "GET", _file),
    ):
        app.add_url_rule(
            f"/<token>{rule}", answer.__name__, partial(_answered, answer, review), methods=[method]
        )
    return app


def _answered(answer: Callable[..., Any], review: Review, *, token: str, **given: str) -> Any:
    """Answer a request; `_guard` has looked at its token."""
    return answer(review, **given)


def _guard(review: Review) -> None:
    # A page of another site that resolves to this address (DNS rebinding) has another Host.
    if flask.request.host not in review.hosts:
        flask.abort(403)
    given = (flask.request.view_args or {}).get("token", "")
    if not hmac.compare_digest(str(given).encode(), review.token.encode()):
        flask.abort(404)
    if flask.request.method not in ("GET", "HEAD"):
        origin = flask.request.headers.get("Origin", "")
        if origin != f"http://{flask.request.host}":
            flask.abort(403)


def _harden(response: flask.Response) -> flask.Response:
    response.headers.update(HEADERS)
    return response


def _plainly(error: HTTPException) -> tuple[str, int]:
    return f"{error.code} {error.name}\n", int(error.code or 500)


def _explained(error: BrainsegError) -> tuple[dict[str, str], int]:
    return {"error": str(error)}, 400 if isinstance(error, DataError) else 500


def _page(review: Review) -> flask.Response:
    nonce = secrets.token_urlsafe(16)
    page = Page(
        css=styles("page.css", "review.css"),
        script=script("review.js"),
        nonce=nonce,
        study=review.root.name,
        rater=review.rater,
        symbols=Markup(json.dumps({k: f"{SYMBOLS[k]} {WORDS[k]}" for k in WORDS})),
    )
    response = flask.Response(render("review.html.j2", page), mimetype="text/html")
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; "
        "img-src data:; connect-src 'self'; frame-src 'self'; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'none'"
    )
    return response


@cache
def _policy_of_files() -> str:
    """Policy of pages from the output folder: of scripts they may run those of brainseg alone.

    They share the origin of the review, whose page reaches into them; a page that somebody put
    into the folder must not rate in the reviewer's name.
    """
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()}'"
        for own in own_scripts()
    )
    return (
        f"default-src 'none'; script-src {hashes} 'wasm-unsafe-eval'; style-src 'unsafe-inline'; "
        "img-src 'self' data: blob:; connect-src 'self' data: blob:; worker-src blob:; "
        "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
    )


def _state(review: Review) -> dict[str, Any]:
    return overview(review.root)


def _rate(review: Review) -> dict[str, Any]:
    content = flask.request.get_json()
    scan = content.get("scan") if isinstance(content, dict) else None
    if not isinstance(scan, str) or scan not in review.scans:
        review.scans.update(e.scan for e in study.entries(review.root))
    kept = ratings.append(review.root, _rating(content, review.scans))
    pairs = ratings.agreement(ratings.read(review.root))
    return {"kept": asdict(kept), "agreement": [asdict(k) for k in pairs]}


def _undo(review: Review) -> dict[str, Any]:
    content = flask.request.get_json()
    rater = content.get("rater", "") if isinstance(content, dict) else ""
    back = ratings.undo(review.root, str(rater))
    return {"undone": None if back is None else asdict(back)}


def _file(review: Review, name: str) -> flask.Response:
    root = review.root
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
    response = flask.send_file(path)
    response.headers["Content-Security-Policy"] = _policy_of_files()
    return response


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
    scan = content.get("scan")
    if not isinstance(scan, str) or scan not in scans:
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
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"the rating cannot be read ({error})") from error
