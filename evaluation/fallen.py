"""Which step of a KQI owns most of what fell."""

from collections.abc import Mapping

import numpy as np

from evaluation.scoring_plan import Plan


def witnesses_of(what: Plan) -> dict[str, str]:
    """Return the KQI that each indicator of a plan speaks for.

    That which weighs it most; of an indicator that none weighs, the first that has a step which names it. One that no
    KQI knows is missing.
    """
    kqis = what.service.kqis
    found: dict[str, str] = {}
    for pair in sorted(what.pairs, key=lambda one: -one.weight):  # of equal weights the first
        found.setdefault(what.ids[pair.indicator], kqis[pair.kqi].id)
    for kqi in kqis:
        for step in _steps(what, kqi.id):
            for row in what.steps[step].indicators:
                found.setdefault(what.ids[row], kqi.id)
    return found


def step_of(what: Plan, kqi: str, fell: Mapping[str, float]) -> str | None:
    """Return the step of a KQI that owns most of what fell; None where none names any of it.

    fell: by indicator, how far, > 0. The steps that name an indicator share it evenly, as lost points are.
    """
    steps = _steps(what, kqi)
    owned = np.zeros(len(what.steps))
    for indicator, far in fell.items():
        row = what.ids.index(indicator)
        owners = [step for step in steps if row in what.steps[step].indicators]
        owned[owners] += far / max(len(owners), 1)
    return what.steps[int(owned.argmax())].name if owned.max(initial=0.0) > 0 else None


def _steps(what: Plan, kqi: str) -> list[int]:
    """Return the rows of the steps of the processes of a KQI."""
    (asked,) = [one for one in what.service.kqis if one.id == kqi]
    processes = what.service.processes
    return [row for row, one in enumerate(what.steps) if processes[one.process].id in asked.processes]
