"""What all pages share: the templates' environment, style sheets and scripts."""

from __future__ import annotations

import base64
import gzip
from functools import lru_cache
from importlib.resources import files

import jinja2
from markupsafe import Markup

import brainseg

# The scripts of each page, in order.
REPORT_SCRIPTS = ("browser.js", "rating.js")
NIIVUE_SCRIPT = "niivue-start.js"
GROUP_SCRIPTS = ("group.js",)
# The style sheets of the pages that explain a mixture.
MIXTURE_STYLES = ("page.css", "report.css", "mixture.css")


@lru_cache
def environment() -> jinja2.Environment:
    """Return the templates of this package, everything escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("brainseg.qc", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )


def styles(*names: str) -> Markup:
    """Return style sheets of the package as one text."""
    return Markup("\n".join(text(n) for n in names))


def text(name: str) -> str:
    """Return a file of the templates' folder."""
    return (files("brainseg.qc") / "templates" / name).read_text(encoding="utf-8")


def script(*names: str) -> Markup:
    """Return scripts of the package as one text."""
    return Markup("\n".join(text(n) for n in names))


def own_scripts() -> list[str]:
    """Return the text of every script that stands in a page of brainseg or is started by one."""
    niivue = vendored("niivue.b64")
    unpacked = [gzip.decompress(base64.b64decode(niivue)).decode()] if niivue else []
    pages = (REPORT_SCRIPTS, (*REPORT_SCRIPTS, NIIVUE_SCRIPT), GROUP_SCRIPTS)
    return [*map(str, (script(*names) for names in pages)), *unpacked]


def vendored(name: str) -> str:
    """Return a file that the build put beside the package, empty where it did not."""
    path = files("brainseg.qc") / "vendor" / name
    return path.read_text(encoding="ascii") if path.is_file() else ""


def render(template: str, page: object) -> str:
    """Render one page from all that it shows.

    Parameters
    ----------
    template : str
        Name of a file of the templates' folder.
    page : dataclass
        Named ``page`` in the template.
    """
    return environment().get_template(template).render(page=page, version=brainseg.__version__)
