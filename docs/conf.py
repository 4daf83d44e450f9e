"""How Sphinx builds the documentation."""

project = "nbdgateway"
author = "the nbdgateway developers"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "nbdgateway"
myst_heading_anchors = 3
# Each kind of page has its place, also before the first one is written.
suppress_warnings = ["toc.empty_glob"]
exclude_patterns = ["_build", "newsfragments"]
