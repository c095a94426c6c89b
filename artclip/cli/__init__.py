"""The command line: a file for commands that train, one for those on a model that exists."""
