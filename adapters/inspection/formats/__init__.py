"""One module for each family of model formats."""
