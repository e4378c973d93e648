"""`python -m holisafe`, where the folder of installed commands is not on the path."""

from .cli import main

if __name__ == "__main__":
    main()
