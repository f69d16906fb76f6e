"""How a service is set up: places and limits."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from functools import cached_property

from oakum.release.experiment import Experiment


@dataclass(frozen=True, kw_only=True)
class Settings:
    """host, port: where it listens. keys: whether a key is needed; None: yes, except on loopback. rate: requests a second
    that one key (or address) may make, in bursts of twice that; None: 500 where keys are needed, no limit elsewhere.
    body: largest body in bytes. seconds: longest a request may take, and longest it may take to arrive. workers: threads
    that score; waiting: requests that may wait for one. connections: open ones. poll: seconds between looks for a new
    model. drain: seconds that running requests have when the service stops. index: kind of the index to search; None: all scores.
    candidate: folder of a model that answers the people of `experiment`. audit: folder of an audit to show. look: seconds
    between looks at drift and at the experiment."""

    host: str = "127.0.0.1"
    port: int = 8080
    keys: bool | None = None
    rate: float | None = None
    body: int = 1 << 20
    seconds: float = 10.0
    workers: int = min(4, os.cpu_count() or 1)
    waiting: int = 256
    connections: int = 1024
    poll: float = 1.0
    drain: float = 15.0
    index: str | None = None
    candidate: str | None = None
    experiment: Experiment = field(default_factory=Experiment)
    audit: str | None = None
    look: float = 30.0

    @cached_property
    def loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @cached_property
    def needs_keys(self) -> bool:
        """Whether requests need a key."""
        return not self.loopback if self.keys is None else self.keys

    @property
    def most(self) -> float | None:
        """Requests a second and caller; None: any number."""
        if self.rate is not None:
            return self.rate or None
        return 500.0 if self.needs_keys else None
