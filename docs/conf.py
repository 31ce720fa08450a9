"""How Sphinx builds the site; `python -m sphinx -W --keep-going docs build/site` does it."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / "pipelines")]

from prepare import EXTRA  # noqa: E402

import brainseg  # noqa: E402
from brainseg.cli.options import usable_cores  # noqa: E402

project = "brainseg"
author = "The brainseg maintainers"
copyright = "the brainseg maintainers; Apache-2.0"
version = release = brainseg.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
    "site_parts",
]
exclude_patterns = ["_ext", "tutorials", "**/sg_execution_times.rst", "sg_execution_times.rst"]
suppress_warnings = ["config.cache"]

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False

sphinx_gallery_conf = {
    "examples_dirs": "tutorials",
    "gallery_dirs": "learn",
    "filename_pattern": r"tutorials/\d",
    "ignore_pattern": r"__",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "only_warn_on_example_error": False,
    "show_memory": False,
    "show_signature": False,
    "download_all_examples": False,
    "capture_repr": ("_repr_html_", "__repr__"),
    "image_scrapers": ("matplotlib",),
    "reset_modules": ("matplotlib",),
    "remove_config_comments": True,
    "min_reported_time": 1,
    # Tutorials know nothing of each other; each takes up to 1 GB of memory.
    "parallel": min(usable_cores(), 4),
}

html_theme = "furo"
html_title = f"brainseg {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
# Reports that the tutorials make are pages of their own and are copied as they are.
html_extra_path = [str(EXTRA)]
html_math_renderer = "mathml"
html_copy_source = False
# Nothing leads to them: the search and the page of Python find every name.
html_use_index = html_domain_indices = False
html_show_sphinx = False
templates_path: list[str] = []
