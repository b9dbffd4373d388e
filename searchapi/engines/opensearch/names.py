"""What our indexes in a cluster are called. All begin with the prefix of ENGINE_URL and a dot: several may share a cluster."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Names:
    prefix: str

    @property
    def system(self) -> str:
        """Keys, aliases and the records of indexes."""
        return f"{self.prefix}.system"

    @property
    def tasks(self) -> str:
        return f"{self.prefix}.tasks"

    @property
    def once(self) -> str:
        """Idempotency records."""
        return f"{self.prefix}.once"

    @property
    def everything(self) -> str:
        """The pattern of them all, also of the aliases."""
        return f"{self.prefix}.*"

    def data(self, uid: str, n: int | str) -> str:
        """The n-th concrete index of an index, or the pattern of all with `*`."""
        return f"{self.prefix}.data.{uid}.{n}"

    def into(self, uid: str, n: int) -> str:
        """An alias of that one, through which it is written: a write to an index that is gone would make another, but with
        `require_alias` it is refused."""
        return f"{self.prefix}.into.{uid}.{n}"

    def alias(self, name: str) -> str:
        """OpenSearch's alias that points to what is live of an index."""
        return f"{self.prefix}.index.{name}"
