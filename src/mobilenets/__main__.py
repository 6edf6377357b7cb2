"""`python -m mobilenets` is the `mobilenets` command."""

from mobilenets.cli.main import run

run()
