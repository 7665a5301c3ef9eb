"""`iotlens train`: one experiment file -> one sealed run, whatever its task."""

from collections.abc import Sequence
from pathlib import Path

from training import experiment, mark_experiment


def train(config: Path, workspace: Path, overrides: Sequence[str] = ()) -> Path:
    """Fit what the file of an experiment asks for, judge it, and return the sealed run directory.

    config: a file, or the bare name of one of configs/experiments. Raises as the parts do.
    """
    path = experiment.find(config, workspace)
    if mark_experiment.is_marking(path):
        from evaluation import mark_training

        return mark_training.train(mark_experiment.read(path, overrides), workspace)
    from evaluation import report
    from training import run

    fitted = run.fit(experiment.read(path, overrides), workspace)
    report.judge(fitted)
    return run.seal(fitted.directory)
