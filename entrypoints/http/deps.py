"""What routes ask for: the container, and the request's names, references and conditions."""

from __future__ import annotations

import re
from typing import Annotated, Any, cast

from fastapi import Depends, Header, Path, Query, Request
from pydantic import PlainValidator, WithJsonSchema

from application.filters import MAX_FILTER, Vocabulary, parse_filter, parse_order
from application.ports import PageRequest
from application.preconditions import IfMatch
from domain.errors import InvalidRequest
from domain.values import (
    AliasName,
    Digest,
    ModelName,
    Reference,
    VersionNumber,
    check_actor,
    parse_reference,
)
from entrypoints.container import Container
from entrypoints.http.schemas import DIGEST_SCHEMA, NAME_SCHEMA, SHA256

_ETAG = re.compile(r'(?P<weak>W/)?"(?P<tag>[\x21\x23-\x7e]*)"')
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def services_of(request: Request) -> Container:
    """The container of the application, sooner than by a dependency: for the hottest route."""
    return cast(Container, request.app.state.container)


async def _services(request: Request) -> Container:
    return services_of(request)


Services = Annotated[Container, Depends(_services)]


# Path parameters are parsed by validators, which are cheaper than dependencies and on the path of
# every request. What the domain says against them passes through pydantic as it is.


def _schema(example: str, **schema: object) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **schema, "examples": [example]})


ModelParam = Annotated[
    ModelName,
    PlainValidator(ModelName),
    _schema("churn", **NAME_SCHEMA),
    Path(alias="name", description="Name of the model"),
]
AliasParam = Annotated[
    AliasName,
    PlainValidator(AliasName),
    _schema("champion", **NAME_SCHEMA),
    Path(description="Name of the alias"),
]
NumberParam = Annotated[
    VersionNumber,
    PlainValidator(VersionNumber.parse),
    _schema("1", pattern="^[1-9][0-9]{0,9}$"),
    Path(alias="ref", description="Version number"),
]
ReferenceParam = Annotated[
    Reference,
    PlainValidator(parse_reference),
    _schema("@champion", pattern="^([1-9][0-9]{0,9}|latest|@.+)$"),
    Path(alias="ref", description="A version number, `latest` or `@alias`"),
]
DigestParam = Annotated[
    Digest,
    PlainValidator(Digest),
    _schema(SHA256, **DIGEST_SCHEMA),
    Path(description="sha256 of the bytes, 64 lower-case hex digits"),
]


async def _actor(
    x_user: Annotated[
        str | None,
        Header(description="Who acts, kept as creator; `anonymous` without", examples=["ada"]),
    ] = None,
) -> str:
    if x_user is None:
        return "anonymous"
    try:
        return check_actor(x_user.encode("latin-1").decode())
    except UnicodeError:
        raise InvalidRequest("The X-User header is not UTF-8.") from None


def header_lines(request: Request, header: str) -> str | None:
    """A header as one list, on however many lines it came; None where it did not."""
    return ", ".join(request.headers.getlist(header)) or None


async def _if_match(
    request: Request,
    if_match: Annotated[
        str | None,
        Header(description="Change only if this is still the ETag (412 otherwise)"),
    ] = None,
) -> IfMatch:
    if if_match is None:
        return None
    if_match = header_lines(request, "if-match") or ""
    if if_match.strip() == "*":
        return frozenset({"*"})
    # Weak tags never match here (RFC 9110, 13.1.1).
    return frozenset(m["tag"] for m in _ETAG.finditer(if_match) if not m["weak"])


async def _idempotency_key(
    idempotency_key: Annotated[
        str | None,
        Header(description="Any 1 to 255 visible characters; a retry with the same key is safe"),
    ] = None,
) -> str | None:
    if idempotency_key is not None and not _KEY.fullmatch(idempotency_key):
        raise InvalidRequest("An Idempotency-Key has 1 to 255 visible ASCII characters.")
    return idempotency_key


Actor = Annotated[str, Depends(_actor)]
IfMatchHeader = Annotated[IfMatch, Depends(_if_match)]
IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]
Force = Annotated[bool, Query(description="Delete even if aliases are in the way, and them too")]


def _text_query(description: str, example: str) -> Any:
    return Query(description=description, examples=[example], max_length=MAX_FILTER)


_HOLDS, _FIELDS = "Only items it holds for:", "Fields, most significant first:"
ModelFilter = Annotated[
    str | None, _text_query(f"{_HOLDS} `tags.team = 'risk' AND alias = 'best'`", "creator = 'ada'")
]
ModelOrder = Annotated[
    str | None, _text_query(f"{_FIELDS} `created_at desc,name`", "created_at desc")
]
VersionFilter = Annotated[
    str | None,
    _text_query(f"{_HOLDS} `tags.team = 'risk' AND metrics.auc > 0.9`", "creator = 'ada'"),
]
VersionOrder = Annotated[
    str | None, _text_query(f"{_FIELDS} `metrics.auc desc,version desc`", "version desc")
]
PageSize = Annotated[int, Query(ge=1, le=1000, description="Items at most")]
PageToken = Annotated[
    str | None,
    Query(description="`next_page_token` of the page before", max_length=8192),
]


def page_request(
    vocabulary: Vocabulary,
    filter: str | None,
    order_by: str | None,
    page_size: int,
    page_token: str | None,
) -> PageRequest:
    """The page that the query parameters ask for.

    Raises:
        InvalidFilter, InvalidOrder
    """
    return PageRequest(
        filter=parse_filter(filter, vocabulary) if filter else None,
        order=parse_order(order_by, vocabulary) if order_by else (),
        size=page_size,
        token=page_token or None,
    )


def none_match(request: Request, etag: str) -> bool:
    """Whether If-None-Match lets a GET go on (RFC 9110, 13.1.2: weak comparison)."""
    header = header_lines(request, "if-none-match")
    if header is None:
        return True
    return header.strip() != "*" and all(m["tag"] != etag for m in _ETAG.finditer(header))
