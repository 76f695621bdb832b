"""The admin command line: ``modelyard-server``, or ``python -m entrypoints.cli``.

Imports are kept light so that ``--help`` is quick: settings, database and server are loaded by the
command that needs them.
"""

from entrypoints.cli.app import main

__all__ = ["main"]
