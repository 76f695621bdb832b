"""Whatever spelling of a PostgreSQL URL people have, as the one that asyncpg reads."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from domain.errors import InvalidSettings

_PASSED_ON = frozenset(
    {
        "application_name", "database", "dbname", "gsslib", "host", "krbsrvname", "options",
        "passfile", "password", "port", "service", "sslcert", "sslcrl", "sslkey", "sslmode",
        "sslnegotiation", "sslpassword", "sslrootcert", "ssl_max_protocol_version",
        "ssl_min_protocol_version", "target_session_attrs", "user",
    }
)  # fmt: skip
_OF_NO_ACCOUNT = frozenset(
    {
        "fallback_application_name", "keepalives", "keepalives_count", "keepalives_idle",
        "keepalives_interval", "sslcompression", "tcp_user_timeout",
    }
)  # fmt: skip
"""What tunes libpq's own sockets: this service bounds every answer by a time of its own."""
_ONLY = {
    "channel_binding": frozenset({"disable", "prefer"}),
    "client_encoding": frozenset({"auto", "utf8", "utf-8", "unicode"}),
    "gssencmode": frozenset({"disable", "prefer"}),
}
"""Options that are understood while they ask for nothing that asyncpg has not."""

_HOST = re.compile(r"(\[[\w:.%]+\]|[^:@\[\]]*)(:\d+)?")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a PostgreSQL database is.

    Attributes:
        dsn: for asyncpg; it can have a password.
        place: for people; without one.
        connect_timeout: seconds, where the URL says so.
    """

    dsn: str = field(repr=False)
    place: str
    connect_timeout: float | None


def read_url(url: str) -> Address:
    """Understands the spellings of libpq and of SQLAlchemy, with any driver in the scheme.

    Several hosts may stand one after another, ``a:5432,b:5432`` or ``?host=a:5432&host=b:5432``;
    ``target_session_attrs=read-write`` then finds the one that takes writes.

    Raises:
        InvalidSettings: it has an option that is not supported.
    """
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise _wrong("it cannot be read; use postgresql://user:password@host:5432/name") from None
    login, at, hosts = parts.netloc.rpartition("@")
    if parts.fragment or "@" in parts.path or not _are_hosts(hosts):
        raise _wrong("in a password :, /, ?, # and @ are written %3A, %2F, %3F, %23 and %40")
    options: dict[str, str] = {}
    for name, value in pairs:
        # SQLAlchemy names each of several hosts by an option of its own.
        several = name in {"host", "port"} and name in options
        options[name] = f"{options[name]},{value}" if several else value
    patience = _take_timeout(options)
    if "ssl" in options:  # as asyncpg and SQLAlchemy call it
        options.setdefault("sslmode", options.pop("ssl"))
    passed = {name: value for name, value in options.items() if _is_passed_on(name, value)}
    if not _are_hosts(options.get("host", "")) or not _are_ports(options.get("port", "1")):
        raise _wrong("host and port cannot be read; use host=a:5432,b:5432")
    dsn = f"postgresql://{login.replace('@', '%40')}{at}{hosts}{parts.path}"
    if passed:
        dsn += "?" + urlencode(passed, quote_via=quote)
    return Address(dsn, _place(login, hosts, parts.path, passed), patience)


def _are_hosts(text: str) -> bool:
    return all(host[:1] == "/" or _HOST.fullmatch(host) for host in text.split(","))


def _are_ports(text: str) -> bool:
    return all(port.isdecimal() for port in text.split(","))


def _take_timeout(options: dict[str, str]) -> float | None:
    given = options.pop("connect_timeout", None)
    try:
        seconds = None if given is None else float(given)
    except ValueError:
        raise _wrong("connect_timeout is a number of seconds") from None
    return seconds if seconds is not None and 0 < seconds < 3600 else None


def _is_passed_on(name: str, value: str) -> bool:
    if name in _PASSED_ON:
        return True
    harmless = _ONLY.get(name, frozenset())
    if name in _OF_NO_ACCOUNT or value.lower() in harmless:
        return False
    if harmless:
        raise _wrong(f"{name}={value[:20]} is not supported; leave {name} out")
    raise _wrong(f"the option {name[:50]!a} is not supported; leave it out")


def _place(login: str, hosts: str, path: str, options: dict[str, str]) -> str:
    user = unquote(login.partition(":")[0]) or options.get("user", "")
    name = unquote(path.strip("/")) or options.get("dbname") or options.get("database", "")
    host = f"?host={options['host']}" if "host" in options else ""
    return f"postgresql://{user}{'@' if user else ''}{hosts}/{name}{host}"


def _wrong(fault: str) -> InvalidSettings:
    return InvalidSettings(f"DATABASE_URL: {fault}.")
