"""`EngineChoice`: how a study's cohorts are trained, as a probe chose it; plain data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from initsearch.training.trainer_settings import TrainerSettings


@dataclass(frozen=True)
class EngineChoice:
    """What the probe chose, and why.

    Attributes:
        engine: `loop` or `stacked`.
        cohort_size: Candidates to train in one job.
        channels_last: Whether images and convolutions are in channels-last order.
        autocast: `none` or `bf16`; for the search only, its winners are confirmed without it.
        reason: The choice in plain words.
        timings: Milliseconds per candidate and step of every way that was timed.
        member_bytes: Memory that each further candidate of a cohort takes in the chosen engine.
        memory_bytes: The limit that was kept.
    """

    engine: str
    cohort_size: int
    channels_last: bool
    autocast: str
    reason: str
    timings: Mapping[str, float] = field(default_factory=dict)
    member_bytes: int = 0
    memory_bytes: int = 0

    def apply(self, trainer: TrainerSettings, *, exact: bool = False) -> TrainerSettings:
        """The trainer's settings with every `auto` decided.

        Args:
            trainer: As configured; the probe kept what is not `auto` there.
            exact: For a race: without autocast, unless it was asked for by name.
        """
        asked = trainer.autocast
        autocast = ("none" if asked == "auto" else asked) if exact else self.autocast
        return trainer.model_copy(
            update={
                "engine": self.engine,
                "autocast": autocast,
                "channels_last": self.channels_last,
            }
        )

    def to_json(self) -> dict[str, Any]:
        """The choice as JSON has it; `from_json` reads it back as an equal choice."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "EngineChoice":
        """The choice that `to_json` wrote."""
        return cls(**values)
