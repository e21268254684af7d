"""Exit 0 if the address answers 200 and no component that it names is unhealthy; for health checks of containers."""

from __future__ import annotations

import json
import sys
import urllib.request
from urllib.error import URLError


def main(address: str) -> int:
    """Ask once; prints why where the answer is not good.

    Args:
        address: URL of a health page: the scheduler's (a bare status) or the api-server's (JSON).
    """
    try:
        # a status other than 200 raises
        with urllib.request.urlopen(address, timeout=10) as answer:
            text = answer.read()
            said = json.loads(text) if "json" in answer.headers.get("Content-Type", "") else {}
    except (URLError, ValueError, OSError) as error:
        print(f"{address}: {error}")
        return 1
    # the api-server reports on the other services too; only its own database is its business
    own = said.get("metadatabase", {"status": "healthy"})["status"]
    if own != "healthy":
        print(f"{address}: {own}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
