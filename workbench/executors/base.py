"""What every executor is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, Any]


class Executor(Protocol):
    """Runs one model and taps its tensors. A context manager: leaving it frees the native resources."""

    @property
    def name(self) -> str:
        """For people, shown wherever results are: ``onnxruntime``, ``Core ML, translated to onnxruntime``."""
        ...

    def run(self, feeds: Mapping[str, Array], tensors: Sequence[str] | None = None) -> dict[str, Array]:
        """Run the model once.

        Args:
            feeds: the model's own input names → arrays of their dtypes and shapes.
            tensors: names of hub values to return; ``None`` means the outputs, in their order.

        Returns:
            The tensors asked for, by name, in the order asked for.

        Raises:
            ExecutionError: feeds that do not fit, an unknown tensor, or a failure inside the executor.
        """
        ...

    def close(self) -> None:
        """Free the native resources; the next run makes them anew."""
        ...

    def __enter__(self) -> Executor: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
