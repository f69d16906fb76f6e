"""A number with its uncertainty: nothing less is printed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with an interval. n: units (users, rows, pairs); how: the method in words, for example
    "bootstrap over users, 1000 resamples, 95 %". low = high = NaN where no interval can be given (n < 2)."""

    value: float
    low: float
    high: float
    n: int
    how: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Estimate:
        """The inverse of `to_json`."""
        return cls(**value)

    def overlaps(self, other: Estimate) -> bool:
        """Whether the two intervals share a point."""
        return self.low <= other.high and other.low <= self.high

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"
