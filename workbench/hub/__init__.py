"""The hub: one ONNX graph, one opset, that every conversion between formats goes through."""

from workbench.hub.emitter import Emitter, needed_nodes
from workbench.hub.lower import Target, foresee, lower_graph
from workbench.hub.node import HubNode
from workbench.hub.opset import IR_VERSION, OPSET, schema_of, since_version
from workbench.hub.ranges import Flexible, Range, ShapeOption, check_shapes, flexible_inputs, parse_shape, shape_text
from workbench.hub.replay import Control
from workbench.hub.runtime import check_runtime, runs_hub_opset, runtime_opset
from workbench.hub.specialize import Specialized, fixed_dims, fixed_inputs, open_dimensions, specialize
from workbench.hub.stamps import layers_of, stamp
from workbench.hub.stored import Grid, stored_of
from workbench.hub.symbolic import OpenShapes
from workbench.hub.values import (
    constant_of,
    dims_of,
    dtype_name,
    dtype_named,
    dtype_of,
    is_constant,
    set_type,
    spec_of,
    subgraphs,
)

__all__ = [
    "IR_VERSION",
    "OPSET",
    "Control",
    "Emitter",
    "Flexible",
    "Grid",
    "HubNode",
    "OpenShapes",
    "Range",
    "ShapeOption",
    "Specialized",
    "Target",
    "check_runtime",
    "check_shapes",
    "constant_of",
    "dims_of",
    "dtype_name",
    "dtype_named",
    "dtype_of",
    "fixed_dims",
    "fixed_inputs",
    "flexible_inputs",
    "foresee",
    "is_constant",
    "layers_of",
    "lower_graph",
    "needed_nodes",
    "open_dimensions",
    "parse_shape",
    "runs_hub_opset",
    "runtime_opset",
    "schema_of",
    "set_type",
    "shape_text",
    "since_version",
    "spec_of",
    "specialize",
    "stamp",
    "stored_of",
    "subgraphs",
]
