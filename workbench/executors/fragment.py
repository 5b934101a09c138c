"""A run of hub nodes as an onnxruntime session of its own.

Small constants are written into the session's graph; large ones are handed over as they lie in memory (mapped from the
model's file, mostly). So a session costs the nodes that it runs, not the model that they were taken from, and no model
is too large for the two gigabytes of a protobuf message.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from workbench.errors import ExecutionError, WorkbenchError
from workbench.hub import IR_VERSION, Emitter, check_runtime, pool, runs_hub_opset, runtime_opset, subgraphs
from workbench.hub.native import make_session, run_session

if TYPE_CHECKING:
    import onnx
    import onnxruntime

Array = np.ndarray[Any, Any]

INLINE_BYTES = 4096
"""Constants up to this size stand in the graph itself, where kernels can see them while the session is made."""


_NUMPY = frozenset(
    ir.DataType[name] for name in "FLOAT DOUBLE FLOAT16 INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64 BOOL".split()
)
"""What numpy has a dtype for; onnxruntime takes bfloat16, float8 and int4 from the graph only."""


class Fragment:
    """Nodes of one hub graph, in topological order, that can be run on their own.

    Args:
        nodes: the nodes; what they read and none of them makes is an input of the fragment.
        outputs: names of the tensors to return, each made by one of the nodes.
        cut: of these tensors the nodes read what is *fed* under the name, while ``outputs`` returns what is computed.
        inputs: the type of an input where it is better known than the hub knows it.
        constants: how large constants are handed over. ``"shared"``: without a copy, but hidden from the optimiser.
            ``"folded"``: the session takes a copy that it may rearrange (faster when it is run often).
        threads: of one operator; 0 leaves it to onnxruntime.
        optimise: let onnxruntime fuse and rearrange the nodes.

    Attributes:
        inputs: names of the tensors that :meth:`run` has to be fed.
        outputs: names of the tensors that it returns.

    Raises:
        ExecutionError: onnxruntime refuses the nodes, or is known to compute one of them wrongly.
        LimitError: onnxruntime takes too long for them, or too much memory.
    """

    def __init__(
        self,
        nodes: Sequence[ir.Node],
        outputs: Sequence[str],
        *,
        cut: Iterable[str] = (),
        inputs: Mapping[str, onnx.TypeProto] | None = None,
        constants: str = "shared",
        threads: int = 0,
        optimise: bool = False,
    ) -> None:
        import onnx

        self.outputs = tuple(outputs)
        self._shared: dict[str, Array] = {}
        self._large: dict[str, ir.TensorProtocol] = {}
        self._fetched = [_computed(name) if name in set(cut) else name for name in outputs]
        cut = frozenset(cut)
        wanted = set(outputs)
        nodes = [node for node in nodes if not _is_plain_constant(node) or wanted & {v.name for v in node.outputs}]
        graph = onnx.GraphProto(name="fragment")
        made = {value for node in nodes for value in node.outputs if value.name not in cut}
        external: dict[str, Array] = {}
        self.inputs = self._boundary(graph, nodes, made, inputs or {}, external if constants == "folded" else None)
        with translated():  # an attribute that is no text, say
            graph.node.extend(map(serialize_node, nodes))
        for proto in graph.node if cut else ():
            proto.output[:] = [_computed(name) if name in cut else name for name in proto.output]
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in self._fetched)
        _check_runtime(nodes)
        self._session = _session(graph, _opsets(nodes), external, threads, optimise)

    def _boundary(
        self,
        graph: onnx.GraphProto,
        nodes: Sequence[ir.Node],
        made: set[ir.Value],
        types: Mapping[str, onnx.TypeProto],
        external: dict[str, Array] | None,
    ) -> tuple[str, ...]:
        """Declare what the nodes read from outside; returns the names that are to be fed."""
        import onnx

        names: list[str] = []
        seen: set[ir.Value] = set()
        inner = {value for node in nodes for value in _inner_values(node)}
        for value in (value for node in nodes for value in Emitter.reads(node)):
            if value in made or value in seen or value in inner or not value.name:
                continue
            seen.add(value)
            tensor = constant_tensor(value)
            if tensor is None:
                names.append(value.name)
                graph.input.append(onnx.ValueInfoProto(name=value.name, type=types.get(value.name) or _type(value)))
                continue
            if not _is_handed_over(tensor):
                graph.initializer.append(_inline(tensor, value.name))
            elif external is not None:
                external[value.name] = _as_it_lies(tensor)
                graph.initializer.append(_reference(tensor, value.name))
            else:
                self._large[value.name] = tensor
                kind = onnx.helper.make_tensor_type_proto(tensor.dtype.value, tensor.shape.numpy())
                graph.input.append(onnx.ValueInfoProto(name=value.name, type=kind))
        return tuple(names)

    @property
    def constant_bytes(self) -> int:
        """Size of the constants that are handed over at each run."""
        return sum(tensor.nbytes for tensor in self._large.values())

    def release(self) -> None:
        """Let go of the large constants that are handed over; the next run reads them again."""
        self._shared.clear()

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """Run the nodes once; feeds that are no inputs are ignored.

        Returns:
            The outputs by name: arrays, or lists of them where the hub's value is a sequence.

        Raises:
            ExecutionError: the nodes cannot be computed on these feeds.
            LimitError: they take too long, or too much memory.
        """
        given = {name: feeds[name] for name in self.inputs}
        if len(self._shared) < len(self._large):
            self._shared.update((name, _as_it_lies(tensor)) for name, tensor in self._large.items())
        with translated():
            results = run_session(self._session, self._fetched, {**given, **self._shared})
        return dict(zip(self.outputs, results, strict=True))


@contextlib.contextmanager
def translated() -> Any:
    """Turn onnxruntime's exceptions (classes of its own without a common base) into ours, with their first line."""
    try:
        yield
    except WorkbenchError:
        raise
    except Exception as error:
        text = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
        cause = text.split(" : ", 2)[-1] if text.startswith("[ONNXRuntimeError]") else text
        raise ExecutionError(cause or type(error).__name__) from error


def serialize_node(node: ir.Node) -> onnx.NodeProto:
    """The node as a protobuf message that refers to no file: tensors inside its attributes are written out."""
    proto = ir.serde.serialize_node(node)
    proto.ClearField("metadata_props")
    proto.ClearField("doc_string")
    _embed(node, proto)
    return proto


def _embed(node: ir.Node, proto: onnx.NodeProto) -> None:
    for attribute in proto.attribute:
        if attribute.HasField("t"):
            attribute.t.CopyFrom(_inline(node.attributes[attribute.name].as_tensor(), attribute.t.name))
        elif attribute.HasField("g"):
            graph = node.attributes[attribute.name].as_graph()
            for initializer in attribute.g.initializer:
                tensor = graph.initializers[initializer.name].const_value
                if tensor is not None:
                    initializer.CopyFrom(_inline(tensor, initializer.name))
            for inner, inner_proto in zip(graph, attribute.g.node, strict=True):
                _embed(inner, inner_proto)


def _inner_values(node: ir.Node) -> Iterable[ir.Value]:
    """Everything that is declared inside the subgraphs of a node."""
    for graph in subgraphs(node):
        yield from graph.inputs
        yield from graph.initializers.values()
        for inner in graph:
            yield from inner.outputs
            yield from _inner_values(inner)


def constant_tensor(value: ir.Value) -> ir.TensorProtocol | None:
    """The tensor of an initializer or of a Constant node; ``None`` if the value is fed or computed."""
    if value.const_value is not None:
        return None if value.is_graph_input() else value.const_value
    node = value.producer()
    if node is None or not _is_plain_constant(node):
        return None
    attribute = node.attributes["value"]
    # Not as_tensor(): it asks of every member of the tensor's protocol whether it is there, which takes 0.2 ms.
    tensor: ir.TensorProtocol = attribute.value if attribute.type is ir.AttributeType.TENSOR else attribute.as_tensor()
    return tensor


def _is_plain_constant(node: ir.Node) -> bool:
    return node.op_type == "Constant" and not node.domain and "value" in node.attributes


def _computed(name: str) -> str:
    """The name that a cut tensor is written to while its own name is read from the feeds."""
    return f"{name}//computed"


def _is_handed_over(tensor: ir.TensorProtocol) -> bool:
    """Whether the tensor is large, and onnxruntime can use its array in place."""
    if tensor.dtype not in _NUMPY:
        return False
    return math.prod(tensor.shape.numpy()) * tensor.dtype.itemsize > INLINE_BYTES  # its nbytes take 20 µs


def _as_it_lies(tensor: ir.TensorProtocol) -> Array:
    """The tensor's array in the machine's order, without a copy where it has it."""
    array = tensor.numpy()
    if not array.dtype.isnative or not array.flags.c_contiguous or array.ctypes.data % array.itemsize:
        native: Array = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
        return native
    return array


def _inline(tensor: ir.TensorProtocol, name: str) -> onnx.TensorProto:
    import onnx

    if tensor.dtype is ir.DataType.STRING:
        proto: onnx.TensorProto = ir.serde.serialize_tensor(tensor)
        proto.name = name
        return proto
    return onnx.TensorProto(
        name=name, data_type=tensor.dtype.value, dims=list(tensor.shape.numpy()), raw_data=tensor.tobytes()
    )


def _reference(tensor: ir.TensorProtocol, name: str) -> onnx.TensorProto:
    """An initializer whose data onnxruntime gets as an ``OrtValue`` (the location is never opened)."""
    import onnx

    proto = onnx.TensorProto(
        name=name,
        data_type=tensor.dtype.value,
        dims=list(tensor.shape.numpy()),
        data_location=onnx.TensorProto.EXTERNAL,
    )
    proto.external_data.add(key="location", value="in-memory")
    return proto


def _type(value: ir.Value) -> onnx.TypeProto:
    """The value's type; shapes inside the graph are left to onnxruntime, which knows the fed ones."""
    import onnx

    if value.type is None:
        raise ExecutionError(f"the type of the tensor {value.name!r} is not known")
    if type(value.type) is ir.TensorType:  # what nearly all are, without the detour
        return onnx.TypeProto(tensor_type=onnx.TypeProto.Tensor(elem_type=value.type.dtype.value))
    proto: onnx.TypeProto = ir.serde.serialize_value(value).type
    if proto.HasField("tensor_type"):
        proto.tensor_type.ClearField("shape")
    return proto


def type_of(array: Array) -> onnx.TypeProto:
    """The protobuf type of an array without its shape (several samples may differ in it)."""
    import onnx

    if array.dtype.kind in "OUST":
        return onnx.helper.make_tensor_type_proto(onnx.TensorProto.STRING, None)
    return onnx.helper.make_tensor_type_proto(ir.DataType.from_numpy(array.dtype).value, None)


def _check_runtime(nodes: Sequence[ir.Node]) -> None:
    if runs_hub_opset():
        return
    for node in _all_nodes(nodes):
        tensors = [None if value is None else constant_tensor(value) for value in node.inputs]
        check_runtime(node, [None if tensor is None else tensor.numpy() for tensor in tensors])


def _all_nodes(nodes: Sequence[ir.Node]) -> Iterable[ir.Node]:
    """The nodes and those of their subgraphs."""
    for node in nodes:
        yield node
        for graph in subgraphs(node):
            yield from ir.traversal.RecursiveGraphIterator(graph)


def _opsets(nodes: Sequence[ir.Node]) -> dict[str, int]:
    operators = {(node.domain, node.op_type) for node in _all_nodes(nodes)}
    standard = runtime_opset(operator for domain, operator in operators if not domain)
    return {"": standard, **{domain: 1 for domain in sorted({domain for domain, _ in operators}) if domain}}


_WINDOWED = frozenset({"Conv", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"})


def _session(
    graph: onnx.GraphProto, opsets: Mapping[str, int], external: Mapping[str, Array], threads: int, optimise: bool
) -> onnxruntime.InferenceSession:
    import onnx
    import onnxruntime

    model = onnx.ModelProto(ir_version=IR_VERSION, graph=graph)
    model.opset_import.extend(onnx.OperatorSetIdProto(domain=name, version=number) for name, number in opsets.items())
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    if not optimise:  # a session that lives for a few runs gives its memory back at once
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        pool.use(options)
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if external:
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in external.values()]
        options.add_external_initializers(list(external), values)
    data = model.SerializeToString()
    # Blocks of channels serve windows alone; onnxruntime 1.32 dies of looking for them in unrolled float16 recurrences.
    unfit = optimise and not any(node.op_type in _WINDOWED for node in graph.node)
    rest = {"disabled_optimizers": ["NchwcTransformer"]} if unfit else {}
    with translated():
        try:
            return make_session(data, options, **rest)
        except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
            if not optimise:
                raise
        # Versions of onnxruntime fuse nodes into ones that they have no kernel for (1.23: transposed integer MatMul).
        options.graph_optimization_level = level.ORT_DISABLE_ALL
        return make_session(data, options)
