"""Letting a model out: what must hold before it answers people, and how it answers some of them first."""

from oakum.release.experiment import Experiment
from oakum.release.gate import Check, Decision, Gate, judge
from oakum.release.standing import Standing, standing

__all__ = ["Check", "Decision", "Experiment", "Gate", "Standing", "judge", "standing"]
