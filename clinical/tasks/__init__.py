"""What a hospital can be asked to predict: one file per task, one line here.

A task says which events it may see, reads one hospital's directory under those terms and gives examples to train on.
"""

from importlib import import_module
from types import ModuleType

__all__ = ["TASKS", "load_task"]

TASKS: dict[str, str] = {
    "icd-coding": "clinical.tasks.coding",
}


def load_task(name: str) -> ModuleType:
    """Import the module of one task.

    Raises:
        ValueError: there is no such task.

    >>> load_task("icd-coding").read_documents.__name__
    'read_documents'
    """
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}; there are: {', '.join(sorted(TASKS))}")
    return import_module(TASKS[name])
