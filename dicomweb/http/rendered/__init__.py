"""Rendered resources, thumbnails and WADO-URI: pictures over HTTP (PS3.18 10.4.1.1.3, 9)."""
