"""What every test shares."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from hypothesis import settings

from tests.support.services.processes import ServerMissing
from tests.support.services.shared import OwnServers, Servers, ServersElsewhere, given

if TYPE_CHECKING:  # what most tests do without is imported by the fixtures that need it
    from tests.support.services.buckets import AzureContainers, GcsBuckets, Place, S3Buckets
    from tests.support.services.databases import Databases

# Machines differ: no test fails for being slow, only for being wrong.
settings.register_profile("modelyard", deadline=None)
settings.load_profile("modelyard")

_OWN, _SERVERS = pytest.StashKey[OwnServers](), pytest.StashKey[Servers]()


def pytest_configure(config: pytest.Config) -> None:
    if (worker := getattr(config, "workerinput", None)) is not None:
        config.stash[_SERVERS] = ServersElsewhere(tuple(worker["servers"]))
    else:
        config.stash[_OWN] = config.stash[_SERVERS] = OwnServers()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: pytest.Item) -> None:
    """Tells a process of pytest-xdist whom to ask for the servers."""
    node.workerinput["servers"] = node.config.stash[_OWN].address  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_SERVERS].close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None]:
    with _without_its_server():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    with _without_its_server():
        return (yield)


@contextmanager
def _without_its_server() -> Iterator[None]:
    """A test that cannot have its server is skipped, or fails where all must run."""
    try:
        yield
    except ServerMissing as missing:
        if os.environ.get("CI") == "true" and not missing.excused:
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever test is the first to use a server waits until npm or Docker has fetched it.

    Pytest-xdist 3.8 writes the group of a test where pytest 9.2 does not look: it is told here.
    """
    fetching = {"databases", "redis_url", "_s3_buckets", "_gcs_buckets", "_azure_containers"}
    for item in items:
        if fetching.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.timeout(600))
        if with_group := vars(item).get("_nodeid"):
            item._id = type(item.id).parse(with_group)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop the service runs on."""
    return "asyncio"


def _server(request: pytest.FixtureRequest, name: str) -> str:
    return request.config.stash[_SERVERS].url(name)


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest) -> Iterator[Databases]:
    """Databases on PostgreSQL, for tests that need several."""
    from tests.support.services.databases import Databases

    made = Databases(_server(request, "postgres"))
    yield made
    made.close()


@pytest.fixture
def postgres_url(databases: Databases) -> Iterator[str]:
    """The URL of an empty PostgreSQL database of the test's own."""
    with databases.new() as url:
        yield url


@pytest.fixture(scope="session")
def migrated_template(databases: Databases) -> Iterator[str]:
    """The name of a database with the schema, to be copied."""
    from adapters.sql import migrate, open_database

    def fill(url: str) -> None:
        database = open_database(url)
        migrate.upgrade(database)
        database.dispose()

    with databases.template(fill) as name:
        yield name


@pytest.fixture
def migrated_postgres_url(databases: Databases, migrated_template: str) -> Iterator[str]:
    """The URL of a PostgreSQL database of the test's own that has the schema."""
    with databases.new(migrated_template) as url:
        yield url


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty Redis database, which no other process of the tests uses."""
    from redis import Redis

    number = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    url = urlsplit(_server(request, "redis"))._replace(path=f"/{number}").geturl()
    with Redis.from_url(url) as redis:
        redis.flushdb()
        yield url
        redis.flushdb()


@pytest.fixture(scope="session")
def _s3_buckets(request: pytest.FixtureRequest) -> Iterator[S3Buckets]:
    from tests.support.services.buckets import S3Buckets

    made = S3Buckets(_server(request, "s3"), given("s3"))
    yield made
    made.close()


@pytest.fixture
def s3_bucket(_s3_buckets: S3Buckets) -> Iterator[Place]:
    """An empty place in an S3 store."""
    with _s3_buckets.new() as place:
        yield place


@pytest.fixture(scope="session")
def _gcs_buckets(request: pytest.FixtureRequest) -> Iterator[GcsBuckets]:
    from tests.support.services.buckets import GcsBuckets

    made = GcsBuckets(_server(request, "gcs"))
    yield made
    made.close()


@pytest.fixture
def gcs_bucket(_gcs_buckets: GcsBuckets) -> Iterator[Place]:
    """An empty place in Google Cloud Storage."""
    with _gcs_buckets.new() as place:
        yield place


@pytest.fixture(scope="session")
def _azure_containers(request: pytest.FixtureRequest) -> Iterator[AzureContainers]:
    from tests.support.services.buckets import AzureContainers

    made = AzureContainers(_server(request, "azure"), given("azure"))
    yield made
    made.close()


@pytest.fixture
def azure_container(_azure_containers: AzureContainers) -> Iterator[Place]:
    """An empty place in Azure Blob."""
    with _azure_containers.new() as place:
        yield place
