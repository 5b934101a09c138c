"""The steps import → inspect → convert → compare → export, as one object that widgets and the command line drive."""

from workbench.session.code import code_of
from workbench.session.keeping import SUFFIX
from workbench.session.session import Session
from workbench.session.state import STEPS, Attempt, Failure, Origin, State
from workbench.session.task import Task
from workbench.session.upload import Upload

__all__ = ["STEPS", "SUFFIX", "Attempt", "Failure", "Origin", "Session", "State", "Task", "Upload", "code_of"]
