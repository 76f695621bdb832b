"""Real servers for tests and measurements: PostgreSQL, Redis, S3, Google Cloud Storage, Azure Blob.

A test session takes each from ``TEST_POSTGRES_URL``, ``TEST_REDIS_URL``, ``TEST_S3_URL``,
``TEST_GCS_URL`` and ``TEST_AZURE_URL`` (credentials by each cloud's usual variables), else from an
image where Docker answers, else from the program that a wheel of the group ``servers`` brings, or
npm for Azure. A test without its server is skipped, and with ``CI=true`` it fails; only where Node
is missing do the tests of Azure go without in any case. Fixtures are in ``tests/conftest.py``.

For a server to stop, kill or freeze: ``with launchers.postgres_server() as server``.
"""
