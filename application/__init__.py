"""Use cases and the interfaces they need. Imports the domain and the standard library only."""
