"""`python -m mobilenets` is the `mobilenets` command."""

from mobilenets.cli.main import run

if __name__ == "__main__":
    run()
