"""The result of a run: what was measured, on what, and whether it reached its target. One JSON file.

It says everything by itself (units, targets, peers), so it can be shown long after the rows have changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from coronel.bench.rows import Row, Sense, Target
from coronel.errors import ArtifactError

FORMAT = 1


@dataclass(frozen=True)
class Share:
    """One line of a profile: a function, what it takes of one operation, and which part of all that is."""

    where: str
    each: float
    share: float  # of 1


def shares(counts: dict[str, int], operations: int) -> tuple[Share, ...]:
    """Lines of a profile from instructions by name, the largest first."""
    total = sum(counts.values()) or 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(
        Share(where, round(count / operations, 2), round(count / total, 4)) for where, count in ordered
    )


@dataclass(frozen=True)
class Measured:
    """What a body found out about one row. `peers` are those of the same run."""

    value: float
    peers: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Figure:
    """One row with its value."""

    group: str
    name: str
    unit: str
    value: float
    target: Target | None
    peers: tuple[tuple[str, float], ...]
    commit: str
    profile: tuple[Share, ...] = ()

    @classmethod
    def of(cls, row: Row, measured: Measured, commit: str, profile: Sequence[Share] = ()) -> Figure:
        """A row's figure."""
        peers = (*row.peers, *measured.peers)
        return cls(row.group, row.name, row.unit, measured.value, row.target, peers, commit, tuple(profile))

    @property
    def key(self) -> tuple[str, str]:
        """What no other row has."""
        return self.group, self.name

    @property
    def of_target(self) -> float | None:
        """The value as a part of the target; None where there is no target."""
        return self.value / self.target.value if self.target else None

    @property
    def missed(self) -> bool:
        """Whether it is on the wrong side of its target."""
        if self.target is None:
            return False
        above = self.value > self.target.value
        return above if self.target.sense is Sense.at_most else self.value < self.target.value


@dataclass(frozen=True)
class Result:
    """A whole run. `machine` says what it was taken on, by words."""

    taken: str
    commit: str
    profile: str
    machine: dict[str, str]
    figures: tuple[Figure, ...] = field(default=())

    @property
    def misses(self) -> tuple[Figure, ...]:
        """The figures that missed their target."""
        return tuple(figure for figure in self.figures if figure.missed)

    def updated(self, new: Result, order: Iterable[tuple[str, str]]) -> Result:
        """This result with the figures of `new` in place of its own, in that order; others are left out."""
        figures = {figure.key: figure for figure in (*self.figures, *new.figures)}
        return replace(new, figures=tuple(figures[key] for key in order if key in figures))

    def write(self, path: Path) -> None:
        """Writes the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        value = asdict(self)
        for figure in value["figures"]:
            if figure["target"]:
                figure["target"]["sense"] = figure["target"]["sense"].value
            figure["missed"] = Figure(**_figure(figure)).missed
        path.write_text(json.dumps({"format": FORMAT, **value}, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Result:
        """Reads such a file. ArtifactError: it is missing, or not one of ours."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            if value["format"] != FORMAT:
                raise ArtifactError(f"{path}: is of format {value['format']}, not {FORMAT}; measure anew")
            figures = tuple(Figure(**_figure(figure)) for figure in value["figures"])
            head = {name: value[name] for name in ("taken", "commit", "profile", "machine")}
        except OSError as error:
            raise ArtifactError(f"{path}: cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"{path}: is no result of a benchmark: {error!r}") from None
        return cls(**head, figures=figures)


def _figure(value: dict[str, Any]) -> dict[str, Any]:
    """The fields of a Figure from JSON's types."""
    fields = {name: item for name, item in value.items() if name != "missed"}
    target = fields["target"]
    fields["target"] = Target(target["value"], Sense(target["sense"])) if target else None
    fields["peers"] = tuple((str(name), float(figure)) for name, figure in fields["peers"])
    fields["profile"] = tuple(Share(**share) for share in fields["profile"])
    fields["value"] = float(fields["value"])
    return fields
