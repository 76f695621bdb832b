"""The registry's rows in SQL, with SQLAlchemy Core: SQLite, in a way that PostgreSQL shares.

Statements and row mappers are written once as plain functions of a SQLAlchemy ``Connection``;
a database of :mod:`adapters.sql.database` decides where and how they run.
"""
