"""`python -m firectl`: the same entry as the `firectl` script."""

from firectl.cli.main import main

if __name__ == "__main__":
    main()
