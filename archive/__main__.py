"""``python -m archive`` is ``strongroom``."""

from archive.cli import main

if __name__ == "__main__":
    main()
