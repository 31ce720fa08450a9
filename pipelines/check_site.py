"""Check a built site: links within it lead somewhere, and reading it fetches nothing.

    python pipelines/check_site.py build/site

Links to other sites are not followed, as a build machine may have no network.
"""

from __future__ import annotations

import argparse
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser fetches by itself when it opens a page; an `a` is followed by a person.
FETCHED = {("img", "src"), ("script", "src"), ("iframe", "src"), ("source", "src"),
           ("video", "src"), ("object", "data")}  # fmt: skip
FETCHED_RELATIONS = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "manifest"}


class Page(HTMLParser):
    """What a page links to, what it fetches, and the places in it that links may name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.places: set[str] = {"", "top"}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the links and the names of one element."""
        found = {name: value or "" for name, value in attrs}
        self.places |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        relations = set(found.get("rel", "").split())
        if tag == "link" and relations & FETCHED_RELATIONS:
            self.fetched.append(found.get("href", ""))
        self.fetched += [found[a] for t, a in FETCHED if t == tag and a in found]


def faults(site: Path) -> list[str]:
    """Return a line for each link that leads nowhere and each thing that is fetched elsewhere."""
    pages = {p.resolve(): Page(p.read_text("utf-8")) for p in sorted(site.rglob("*.html"))}
    out = []
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        for link in page.fetched:
            if urlsplit(link).scheme in ("http", "https") or link.startswith("//"):
                out.append(f"{name}: fetches {link}")
        for link in page.links + page.fetched:
            fault = _fault(link, path, pages)
            if fault:
                out.append(f"{name}: {link}: {fault}")
    for sheet in sorted(site.rglob("*.css")):
        text = sheet.read_text("utf-8")
        if "url(http" in text or "url(//" in text or "@import" in text:
            out.append(f"{sheet.relative_to(site)}: fetches from elsewhere")
    return out


def _fault(link: str, path: Path, pages: dict[Path, Page]) -> str | None:
    parts = urlsplit(link)
    if parts.scheme or link.startswith("//"):
        return None
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.exists():
        return "no such file"
    place = unquote(parts.fragment)
    if target in pages and place not in pages[target].places:
        return "no such place in that page"
    return None


def main() -> None:
    """Print the faults; end with 1 where there are any."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=Path)
    site = parser.parse_args().site
    found = faults(site)
    print(
        "\n".join(found) or f"{len(list(site.rglob('*.html')))} pages: every link leads somewhere"
    )
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
