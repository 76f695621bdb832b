"""How much a run does, and how long each fault lasts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does; times in seconds.

    Attributes:
        lock: LOCK_METHOD of the replicas.
        seed: of the files, of who publishes what, and of which replica fails.
        lease: LOCK_LEASE.
        patience: how long a client waits for an answer.
        failing: how long the S3 server answers 500.
        down: how long Redis, and a replica, are away.
        frozen: how long a replica is frozen beyond its lease.
        pause: between two collections.
        aging: how long what a collection left that was cut off is left to age, at the end; 0 not to
            wait, but to let it pass.
    """

    lock: str = "redis"
    seed: int = 1
    versions: int = 2000
    clients: int = 32
    models: int = 4
    lease: float = 3
    patience: float = 12
    failing: float = 10
    down: float = 5
    frozen: float = 12
    pause: float = 10
    aging: float = 310

    @property
    def model_names(self) -> list[str]:
        """The models that are published to."""
        return [f"chaos-{number}" for number in range(1, self.models + 1)]
