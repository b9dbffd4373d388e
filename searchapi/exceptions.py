"""Every error that searchapi raises on purpose. No Flask here: `problems.py` alone knows HTTP statuses.

    SearchAPIError
    ├── Unreadable            could not be decoded at all (bad JSON, bad UTF-8)
    ├── Invalid               decoded, but wrong; carries one or more Faults, each pointing at its place
    ├── NotFound
    │   ├── IndexNotFound
    │   ├── DocumentNotFound
    │   ├── AliasNotFound
    │   ├── TaskNotFound
    │   └── KeyNotFound
    ├── NotAuthenticated      no key, or one that is not valid
    ├── NotPermitted          a valid key that may not do this
    ├── RateLimited           too much for now: by this key, by this address
    ├── Overloaded            too much for now: by everybody together
    ├── BodyTimeout           the body did not arrive in time
    ├── Conflict              the state of things forbids it (exists already, version differs)
    │   ├── IndexExists
    │   ├── IdempotencyUnfinished  the request with this Idempotency-Key is still being done
    │   └── VersionConflict   If-Match / If-None-Match did not hold
    ├── IdempotencyReused     an Idempotency-Key came with another request
    ├── TooLarge              a body, line or batch over its cap
    ├── Unsupported           this engine lacks the named capability
    └── EngineError
        ├── EngineUnavailable away, read-only, or not ready yet: try again later
        ├── StorageFull       the disk is full: the write was refused whole, searches go on
        └── DeadlineExceeded  the search did not finish within its timeout_ms

`code` is the stable machine-readable name that a client sees; messages are for people and never hold raw engine text.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with an input.

    pointer: where, as `filter`, `sort`, or a JSON Pointer into the body (`/2/price`).
    code:    stable snake_case name.
    detail:  one sentence for a person, naming what was expected and what came.
    """

    pointer: str
    code: str
    detail: str


class SearchAPIError(Exception):
    code = "error"

    def __init__(self, detail: str = "", *, code: str | None = None, errors: tuple[Fault, ...] = ()):
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        if code:
            self.code = code


class Unreadable(SearchAPIError):
    code = "unreadable"


class Invalid(SearchAPIError):
    """Input that was understood but is wrong. `Invalid.at("filter", "unknown_field", "…")` is the usual way in."""

    code = "invalid"

    @classmethod
    def at(cls, pointer: str, code: str, detail: str) -> Invalid:
        return cls(detail, errors=(Fault(pointer, code, detail),))

    @classmethod
    def of(cls, faults: list[Fault] | tuple[Fault, ...]) -> Invalid:
        faults = tuple(faults)
        detail = faults[0].detail if len(faults) == 1 else f"{len(faults)} things are wrong with this request."
        return cls(detail, errors=faults)


class NotFound(SearchAPIError):
    code = "not_found"


class IndexNotFound(NotFound):
    code = "index_not_found"

    def __init__(self, name: str):
        super().__init__(f"There is no index named {name!r}.")


class DocumentNotFound(NotFound):
    code = "document_not_found"

    def __init__(self, id: str):
        super().__init__(f"There is no document with the id {id!r}.")


class AliasNotFound(NotFound):
    code = "alias_not_found"

    def __init__(self, name: str):
        super().__init__(f"There is no alias named {name!r}.")


class TaskNotFound(NotFound):
    code = "task_not_found"

    def __init__(self, id: str):
        super().__init__(f"There is no task with the id {id!r}.")


class KeyNotFound(NotFound):
    code = "key_not_found"

    def __init__(self, id: str):
        super().__init__(f"There is no key with the id {id!r}.")


class NotAuthenticated(SearchAPIError):
    code = "unauthorized"


class NotPermitted(SearchAPIError):
    code = "forbidden"


class RateLimited(SearchAPIError):
    code = "rate_limited"

    def __init__(self, detail: str, retry_after: int, *, code: str | None = None):
        super().__init__(detail, code=code)
        self.retry_after = retry_after  # seconds


class Overloaded(SearchAPIError):
    code = "overloaded"
    retry_after = 1  # seconds


class BodyTimeout(SearchAPIError):
    code = "body_timeout"


class IdempotencyReused(SearchAPIError):
    code = "idempotency_key_reused"


class Conflict(SearchAPIError):
    code = "conflict"


class IdempotencyUnfinished(Conflict):
    code = "idempotency_unfinished"
    retry_after = 1  # seconds


class IndexExists(Conflict):
    code = "index_exists"

    def __init__(self, name: str):
        super().__init__(f"An index or alias named {name!r} exists already.")


class VersionConflict(Conflict):
    code = "version_conflict"


class TooLarge(SearchAPIError):
    code = "too_large"


class Unsupported(SearchAPIError):
    code = "unsupported"


class EngineError(SearchAPIError):
    code = "engine_error"


class EngineUnavailable(EngineError):
    code = "engine_unavailable"
    retry_after = 2  # seconds


class StorageFull(EngineUnavailable):
    code = "storage_full"
    retry_after = 30


class DeadlineExceeded(EngineUnavailable):
    code = "deadline_exceeded"
    retry_after = 1
