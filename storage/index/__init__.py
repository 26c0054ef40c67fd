"""The rows of studies, series and instances: how they are written and searched."""
