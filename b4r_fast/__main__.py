"""python -m b4r_fast: the same as b4r-fast."""

from .cli import main

if __name__ == "__main__":
    main()
