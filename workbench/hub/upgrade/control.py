"""Control flow: Scan before version 9 had a batch dimension."""

from __future__ import annotations

import onnx_ir as ir

from workbench.hub.upgrade.registry import step
from workbench.hub.upgrade.site import Attribute, Site


@step("Scan", to=9)
def scan_9(site: Site) -> None:
    """Given: Scan-8(states [B, …], sequences [B, T, …]), one independent scan for each of the B entries.

    Result: a Scan over the batch without state, whose body is the old Scan without a batch.
    """
    if site.input(0) is not None:
        site.refuse("sequences of different lengths ('sequence_lens') cannot be said since Scan-9")
    body_attribute = site.node.attributes.get("body")
    if body_attribute is None or body_attribute.type is not ir.AttributeType.GRAPH:
        site.refuse("the required attribute 'body' is missing")
    body = body_attribute.as_graph()
    scanned = site.take("num_scan_inputs", ir.AttributeType.INT)
    directions = site.take_ints("directions")
    values = [site.value(index) for index in range(1, len(site.node.inputs))]
    states = len(values) - int(site.required("num_scan_inputs", scanned))
    if len(body.inputs) != len(values) or not 0 <= states <= len(body.outputs):
        site.refuse(f"the body takes {len(body.inputs)} values, the node gives {len(values)}")
    entries, results = (
        [site.fresh(inner, f"{role}_{index}", with_shape=index < states) for index, inner in enumerate(ends)]
        for role, ends in (("entry", body.inputs), ("result", body.outputs))
    )
    inner_attributes: dict[str, Attribute] = {"body": body, "num_scan_inputs": len(values) - states}
    if directions is not None:
        inner_attributes["scan_input_directions"] = directions
    node = site.inner_node("Scan", entries, results, "sequence", inner_attributes)
    batch = ir.Graph(entries, results, nodes=[node], name=f"{body.name or 'body'}_batch")
    site.become("Scan", values, body=batch, num_scan_inputs=len(values))
