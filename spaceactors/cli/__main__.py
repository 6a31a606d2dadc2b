"""`python -m spaceactors.cli` is the `spaceactors` command."""

from spaceactors.cli import main

main()
