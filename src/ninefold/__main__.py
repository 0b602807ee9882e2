"""`python -m ninefold`, the same as the command `ninefold`."""

from ninefold.app.cli import run

if __name__ == "__main__":
    run()
