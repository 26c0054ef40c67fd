"""The archive's own pages at `/ui/`: plain HTML, CSS and ES modules, served as they are.

`static/` is what browsers run. There is no build step and no library of others: a machine with Python alone serves and
changes the pages. `assets` reads them, `dictionary` makes the table of names of attributes, `routes` answers.
"""
