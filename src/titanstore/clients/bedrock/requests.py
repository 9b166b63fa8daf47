"""Which calls of `invoke_model` ask Titan for an embedding, and by what key an answer is kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from titanstore.errors import ErrorKind, InvalidInputError
from titanstore.keys import embedding_key

_DIMENSIONS: Final = {
    "amazon.titan-embed-text-v1": 1536,
    "amazon.titan-embed-g1-text-02": 1536,
    "amazon.titan-embed-text-v2:0": 1024,
    "amazon.titan-embed-image-v1": 1024,
}
MODELS: Final = tuple(_DIMENSIONS)
"""Model ids whose answers are kept; a model's place here is stored, so it never changes."""

# Another ARN is refused by Bedrock, or means something else (the pattern of `modelId`, botocore)
_ARN: Final = re.compile(r"arn:aws(?:-[^:]+)?:bedrock:[a-z0-9-]{1,20}::foundation-model/(.+)")
_ARGUMENTS: Final = {"modelId", "body", "accept", "contentType"}
_JSON: Final = "application/json"
_ACCEPTED: Final = {"*/*", _JSON}


@dataclass(frozen=True, slots=True, kw_only=True)
class TitanRequest:
    """One request for an embedding.

    Attributes
    ----------
    model
        One of `MODELS`.
    key
        Of the vector in the store: `embedding_key(model, text, options)`.
    dimension
        How many values its answer must have.
    """

    model: str
    key: str
    dimension: int


class _NotForUsError(Exception):
    """This body is Bedrock's business alone."""


def request_of(
    arguments: Mapping[str, Any], body: bytes, *, models: Mapping[str, str], region: str | None
) -> TitanRequest | None:
    """The request that a call of `invoke_model` is, or None if the call is to pass untouched.

    Parameters
    ----------
    arguments
        Of the call.
    body
        Its body, read where the argument is a file.
    models
        Model id by what callers write for it beside the id and its ARN.
    region
        Part of the key; None: answers of all regions are one.

    Returns
    -------
    TitanRequest or None
        None for another model, an argument that changes the answer or that botocore would refuse,
        and a body that Titan would refuse or that is not plainly one JSON object. Everything in
        the body is part of the key: a changed option never meets an old answer.
    """
    if not arguments.keys() <= _ARGUMENTS:
        return None
    try:
        model = known_model(arguments.get("modelId"), models)
        if arguments.get("accept", _JSON) not in _ACCEPTED:
            return None
        if arguments.get("contentType", _JSON) != _JSON:
            return None
    except TypeError:  # unhashable: botocore has words for it
        return None
    if model is None:
        return None
    try:
        fields = json.loads(
            body.decode(), object_pairs_hook=_only_once, parse_constant=_no_constant
        )
        if not isinstance(fields, dict):
            return None
        return titan_request(model, fields, region=region)
    except (_NotForUsError, ValueError, RecursionError):
        return None


def known_model(model_id: object, models: Mapping[str, str] | None = None) -> str | None:
    """The one of `MODELS` that a `modelId` means: the id, its ARN, or a key of `models`."""
    if not isinstance(model_id, str):
        return None
    if models and model_id in models:
        return models[model_id]
    arn = _ARN.fullmatch(model_id)
    named = arn[1] if arn else model_id
    return named if named in _DIMENSIONS else None


def titan_request(
    model: str, fields: Mapping[str, Any], *, region: str | None = None
) -> TitanRequest | None:
    """The request of a parsed body; None for one that Titan would refuse."""
    options = dict(fields)
    text = options.pop("inputText", None)
    has_image = isinstance(options.get("inputImage"), str) and model == MODELS[3]
    if not (isinstance(text, str) and text) and not (text is None and has_image):
        return None
    if "inputText" in fields and text is None:
        return None
    dimension = _dimension(model, options)
    if dimension is None:
        return None
    if region is not None:
        options["@region"] = region
    return TitanRequest(
        model=model, key=embedding_key(model, text or "", options), dimension=dimension
    )


def checked_model(model_id: str, models: Mapping[str, str] | None = None) -> str:
    """`known_model`, or InvalidInputError (NOT_TITAN)."""
    found = known_model(model_id, models)
    if found is None:
        raise InvalidInputError(
            f"{model_id!r} is not a Titan embedding model; there are {', '.join(MODELS)}",
            ErrorKind.NOT_TITAN,
        )
    return found


def _dimension(model: str, options: Mapping[str, Any]) -> int | None:
    asked: object = options.get("dimensions", _DIMENSIONS[model])
    if model == MODELS[3]:
        config = options.get("embeddingConfig", {})
        if not isinstance(config, dict):
            return None
        asked = config.get("outputEmbeddingLength", _DIMENSIONS[model])
    return asked if type(asked) is int and asked > 0 else None


def _only_once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    listed = list(pairs)
    found = dict(listed)
    if len(found) < len(listed):  # which one counts is for the service to say
        raise _NotForUsError
    return found


def _no_constant(_: str) -> NoReturn:
    raise _NotForUsError
