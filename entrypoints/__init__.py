"""Where the outside comes in: settings, the composition root, HTTP and the command line."""
