"""The command line: thin. It parses, calls, prints; a user's mistake is one message and exit code 2."""

from bench.cli.main import main

__all__ = ["main"]
