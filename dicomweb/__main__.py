"""`python -m dicomweb` is the command line."""

from dicomweb.cli import main

main()
