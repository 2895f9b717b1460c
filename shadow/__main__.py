"""`python -m shadow` is the `shadow` command."""

from shadow.cli import main

if __name__ == "__main__":
    main()
