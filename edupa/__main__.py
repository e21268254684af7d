"""``python -m edupa``."""

from edupa.cli import main

main()
