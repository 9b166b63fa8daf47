"""The site that `make docs` builds of README, docs, FORMAT.md and the decisions. Sphinx reads this.

Pages stay plain Markdown, as repositories show them; what only a site needs is added here.
"""

from __future__ import annotations

from typing import Any

_SECTIONS = {
    "Begin": ["README", "docs/tutorial/*"],
    "How to": ["docs/how-to/*"],
    "Operations": ["docs/operations/*"],
    "Reference": ["docs/reference/*", "src/titanstore/FORMAT"],
    "Explanation": ["docs/explanation/*"],
    "Project": ["CONTRIBUTING", "CHANGELOG", "reports/decisions/*"],
}

project = "titanstore"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/*.md",
    "docs/*/*.md",
    "docs/*/*.rst",
    "src/titanstore/FORMAT.md",
    "reports/decisions/*.md",
]
html_theme = "alabaster"  # comes with Sphinx
html_theme_options = {"page_width": "1100px", "sidebar_width": "260px"}
html_show_sourcelink = False
html_show_copyright = False
myst_heading_anchors = 4
autodoc_typehints = "signature"
toc_object_entries = False  # the navigation has pages, not 184 names
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
default_role = "code"  # `this` in a docstring is code, as everywhere in the project


def _add_tree(_: Any, docname: str, source: list[str]) -> None:
    """The navigation: trees of pages, that the index has only on the site."""
    if docname == root_doc:
        for caption, globs in _SECTIONS.items():
            listed = "\n".join(f"/{one}" for one in globs)
            options = f":hidden:\n:glob:\n:caption: {caption}"
            source[0] += f"\n```{{toctree}}\n{options}\n\n{listed}\n```\n"


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("source-read", _add_tree)
