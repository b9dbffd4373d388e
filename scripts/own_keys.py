"""A detector for detect-secrets: API keys of searchapi, told from noise by their checksum."""

from __future__ import annotations

from collections.abc import Iterator

from detect_secrets.plugins.base import RegexBasedDetector

from searchapi.keytext import PATTERN, is_key


class SearchAPIKeyDetector(RegexBasedDetector):
    secret_type = "searchapi key"  # pragma: allowlist secret
    denylist = (PATTERN,)

    def analyze_string(self, string: str) -> Iterator[str]:
        for match in PATTERN.finditer(string):
            if is_key(match[0]):
                yield match[0]
