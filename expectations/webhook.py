"""Tell a webhook what a gate found: the JSON beside the page, word for word, signed like the news of releases.

Its address is the file ``gate_webhook_url`` among the secrets or EDUPA_GATE_WEBHOOK; the key is that of the releases
(``warehouse.notices``). A webhook that fails changes nothing about the decision.
"""

from __future__ import annotations

from pathlib import Path

from warehouse.config import WarehouseConfig
from warehouse.notices import post_signed, webhook_url

URL_SECRET = "gate_webhook_url"
URL_VARIABLE = "EDUPA_GATE_WEBHOOK"


def tell(config: WarehouseConfig, page: Path, gate_run_id: int) -> tuple[bool, str] | None:
    """Post the JSON of a gate's page.

    Args:
        config: where address and key lie.
        page: of the gate run; its JSON lies beside it.
        gate_run_id: sent as X-Edupa-Gate-Run, so that a receiver knows a repetition.

    Returns:
        Whether the receiver took it, and its status or why there is none; None where no webhook is configured.
    """
    url = webhook_url(config, URL_SECRET, URL_VARIABLE)
    if url is None:
        return None
    return post_signed(config, url, page.with_suffix(".json").read_bytes(), {"X-Edupa-Gate-Run": str(gate_run_id)})
