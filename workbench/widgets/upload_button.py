"""A button (and a place to drop a file) that brings a model from the browser's machine to the kernel's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import traitlets

from workbench.errors import WorkbenchError
from workbench.session import Upload
from workbench.session.upload import PIECE_BYTES
from workbench.widgets.base import View, assets
from workbench.widgets.text import shown


class UploadButton(View):
    """Receives one file at a time.

    Args:
        complete: called with the finished upload, on the thread that handles messages.
        accept: file name suffixes that the browser offers first.
    """

    _esm, _css = assets("upload_button")

    accept = traitlets.Unicode().tag(sync=True)
    hint = traitlets.Unicode("or drop one here (folders as a .zip)").tag(sync=True)

    def __init__(self, complete: Callable[[Upload], None], accept: Sequence[str] = ()) -> None:
        super().__init__(accept=",".join(accept))
        self._complete = complete
        self._upload: Upload | None = None
        self.on_msg(self._receive)

    def _receive(self, widget: object, message: Any, buffers: Sequence[memoryview]) -> None:
        try:
            self._handle(message, buffers)
        except (WorkbenchError, OSError) as error:
            self._drop()
            self.send({"type": "end", "text": shown(error)})

    def _handle(self, message: dict[str, Any], buffers: Sequence[memoryview]) -> None:
        kind = message.get("type")
        if kind == "begin":
            self._drop()
            self._upload = Upload(str(message["name"]), int(message["size"]))
            self._want(0)
        elif kind == "piece" and self._upload is not None:
            if self._upload.add(int(message["offset"]), buffers[0]):
                done, self._upload = self._upload, None
                self.send({"type": "end", "text": f"Received {done.name}"})
                self._complete(done)
            else:
                self._want(self._upload.received)
        elif kind == "cancel":
            self._drop()

    def _want(self, offset: int) -> None:
        self.send({"type": "want", "offset": offset, "bytes": PIECE_BYTES})

    def _drop(self) -> None:
        if self._upload is not None:
            self._upload.discard()
            self._upload = None
