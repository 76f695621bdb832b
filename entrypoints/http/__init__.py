"""The REST API: thin routes that parse, call a use case and set headers."""
