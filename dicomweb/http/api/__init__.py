"""The administration interface: JSON below `/api`, one noun per module.

A noun exports `ROUTES`, relative to `/api`, and `PATHS`, what OpenAPI says of them; `routes` puts them together.
"""
