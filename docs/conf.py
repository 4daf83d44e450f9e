"""How Sphinx builds the documentation."""

project = "nbdgateway"
author = "the nbdgateway developers"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "nbdgateway"
myst_heading_anchors = 3
exclude_patterns = ["_build", "newsfragments"]
