"""`python -m proxy.cli` is `spendgate`."""

from proxy.cli import main

main()
