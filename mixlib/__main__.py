"""`python -m mixlib` is `mixlib`."""

from mixlib.cli import main

main()
