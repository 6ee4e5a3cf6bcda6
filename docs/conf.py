"""How Sphinx builds these pages; it reads nothing from the network."""

from importlib.metadata import version as installed_version

project = "daskflow"
author = "daskflow developers"
copyright = "daskflow developers"
release = installed_version("daskflow")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "explanation/measured"]
html_theme = "furo"
html_title = f"daskflow {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = False

# Some names are in both packages (BlocksFailed): a docstring means that of its own.
suppress_warnings = ["ref.python"]
