"""DICOM data sets: files, elements, JSON, XML, character sets, transfer syntaxes (PS3.5, PS3.10, PS3.18 F)."""
