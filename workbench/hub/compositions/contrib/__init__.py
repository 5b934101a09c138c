"""onnxruntime's own operators (domain ``com.microsoft``), which its optimiser and common exporters write.

They keep their form in a hub that becomes ONNX again; for other formats they are said in standard operators.
Source of the definitions: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from workbench.hub.compositions.contrib import attention, blocks, fused, grouped, quantized

FAMILIES = (attention, blocks, fused, grouped, quantized)

__all__ = ["FAMILIES"]
