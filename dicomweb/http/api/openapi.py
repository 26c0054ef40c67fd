"""The description of `/api` in OpenAPI 3.1, put together from what each noun says of itself; pure.

The functions below write the parts that repeat, so that a noun's `PATHS` can be read.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from dicomweb.version import program_version

PROBLEM = "Problem"
SCHEMAS: Mapping[str, Any] = {
    PROBLEM: {
        "type": "object",
        "description": "What went wrong (RFC 9457).",
        "required": ["status", "title", "detail"],
        "properties": {
            "status": {"type": "integer"},
            "title": {"type": "string"},
            "detail": {"type": "string", "description": "What is wrong and what would work."},
        },
    },
    "DicomJson": {
        "type": "object",
        "description": "A data set in the DICOM JSON Model (PS3.18 Annex F): tags of eight hexadecimal digits.",
        "additionalProperties": {"type": "object"},
    },
}


def document(url: str, paths: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Put the document together.

    Parameters
    ----------
    url : str
        Of `/api`, as the client sees it.
    paths, schemas : mapping
        By path below that, and by name.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dicomweb administration",
            "version": program_version(),
            "description": "Peers, background jobs and everything else that is no DICOMweb resource. POST and PUT "
            "carry application/json, even when there is nothing to say.",
        },
        "servers": [{"url": url}],
        "paths": dict(sorted({**_OWN, **paths}.items())),
        "components": {"schemas": {**SCHEMAS, **schemas}},
    }


def reference(name: str) -> dict[str, str]:
    """Refer to a schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def operation(
    summary: str,
    answers: Mapping[int, str | tuple[str, Any]],
    *,
    body: Any = None,
    body_type: str = "application/json",
    query: Mapping[str, tuple[Any, str]] | None = None,
    refusals: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    """Describe one method of a path.

    Parameters
    ----------
    summary : str
        What it does.
    answers : mapping
        Status to what it means, or to that and the schema of the JSON body.
    body, body_type
        Schema and media type of the request body, if there is one.
    query : mapping, optional
        Name of a query parameter to its schema and meaning.
    refusals : mapping, optional
        Status to what it means; the body is a problem document.
    """
    responses: dict[str, Any] = {}
    for status, meaning in answers.items():
        text, schema = (meaning, None) if isinstance(meaning, str) else meaning
        responses[str(status)] = {"description": text} | (_content("application/json", schema) if schema else {})
    for status, text in (refusals or {}).items():
        responses[str(status)] = {"description": text, **_content("application/problem+json", reference(PROBLEM))}
    described: dict[str, Any] = {"summary": summary, "responses": responses}
    if body is not None:
        described["requestBody"] = {"required": True, **_content(body_type, body)}
    if query:
        described["parameters"] = [
            {"name": name, "in": "query", "schema": schema, "description": text}
            for name, (schema, text) in query.items()
        ]
    return described


def path_parameter(name: str, description: str, **schema: Any) -> dict[str, Any]:
    """Describe a parameter of a path; a string unless `schema` says otherwise."""
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", **schema},
    }


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of a model whose members have simple types."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    return schema


def _content(media_type: str, schema: Any) -> dict[str, Any]:
    return {"content": {media_type: {"schema": schema}}}


_OWN = {
    "/openapi.json": {
        "get": operation("This description", {200: ("An OpenAPI document.", {"type": "object"})}),
    },
}
