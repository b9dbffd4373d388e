"""What all tests share: how Hypothesis runs."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No deadline: the machine is shared. No example database: a run leaves nothing behind, and a failure prints how to repeat it.
settings.register_profile(
    "searchapi",
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("searchapi")
