"""The asynchronous client, its retry policy and the command line."""
