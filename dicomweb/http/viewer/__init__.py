"""OHIF, the viewer of studies in a browser: fetched once through npm, then served on the archive's own origin."""
