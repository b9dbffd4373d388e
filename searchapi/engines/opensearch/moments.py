"""Moments of an index that pages are cut from: OpenSearch's points in time, carried in cursors.

https://docs.opensearch.org/latest/search-plugins/searching-data/point-in-time/
"""

from __future__ import annotations

import base64
import binascii
import contextlib

from ...exceptions import EngineError, Invalid
from ...model import Page
from .client import Cluster, NotThere

KEPT = "5m"  # after the last page that was asked for


def expired() -> Invalid:
    detail = f"cursor: it was good for {KEPT[:-1]} minutes after the page that it came with; begin again with cursor=*"
    return Invalid.at("cursor", "cursor_expired", detail)


class Moments:
    """own: how the names of the indexes begin that a moment may be of. One that a client brings is not to open another's."""

    def __init__(self, cluster: Cluster, index: str, own: str):
        self._cluster, self._index, self._own = cluster, index, own
        self._begun: str | None = None

    def of(self, page: Page) -> str:
        """The moment that a page is cut from: a new one for the first page. Raises Invalid."""
        if page.after is not None:
            if not self._is_own(page.after[0]):
                raise Invalid.at("cursor", "invalid_cursor", "cursor: it belongs to another index")
            return page.after[0]
        if self._begun is None:
            params = {"keep_alive": KEPT}
            self._begun = self._cluster.ask("POST", f"/{self._index}/_search/point_in_time", params=params, again=True)["pit_id"]
        return self._begun

    def _is_own(self, moment: str) -> bool:
        """A point in time names its index, in plain text within base64."""
        try:
            raw = base64.urlsafe_b64decode(moment + "=" * (-len(moment) % 4))
        except (ValueError, binascii.Error):
            return False
        return self._own.encode() in raw

    def forget(self, moment: str) -> None:
        with contextlib.suppress(EngineError, NotThere):  # it ends by itself
            self._cluster.ask("DELETE", "/_search/point_in_time", {"pit_id": [moment]})
