"""The HTTP door: DICOMweb, the pages, the viewer, `/api`. `app.py` puts it together, `process.py` is a worker."""
