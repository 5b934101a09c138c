"""The ML program under construction: what the lowerings emit into, and how the hub's values are named and checked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from workbench import limits
from workbench.document import Pixels, TensorSpec
from workbench.errors import Refusal
from workbench.formats.coreml import toolkit
from workbench.formats.coreml.from_onnx.carrier import (
    carried,
    carrier,
    carrier_type,
    check_always_filled,
    check_filled,
    check_rank,
    check_shape,
    held_shape,
    is_empty,
    may_be_empty,
)
from workbench.formats.coreml.from_onnx.dimensions import Dimensions
from workbench.formats.coreml.from_onnx.names import Names
from workbench.formats.coreml.from_onnx.shaping import Shaping
from workbench.formats.coreml.from_onnx.stored import written
from workbench.hub import Grid, HubNode, OpenShapes, constant_of, is_constant, spec_of, stamp, stored_of
from workbench.hub.sizes import Extent, Size
from workbench.lowering import Refused

if TYPE_CHECKING:
    from workbench.formats.coreml.presentation import Picture

Var = Any
"""``coremltools.converters.mil.mil.Var``: one value of the program, with ``shape`` and ``dtype``."""

MOVERS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity"})
"""Operators that only move elements, and so can be said of tensors of any rank."""

EMPTY_PARTS = frozenset({"Split", "Concat"})
"""Operators that may have a tensor without elements among their parts: it is left out, for Core ML has none."""

STAMP = "hub"
"""Begins the text that an operation's scope is stamped with; the index of its hub node follows."""

IOS16 = 7
"""Specification version that came with iOS16."""


def state_output(name: str) -> str:
    """The output under which a document shows a state's value after a run."""
    return f"{name}_out"


class ProgramTarget(Shaping):
    """Builds the function ``main`` of an ML program; use it inside a :func:`toolkit.session`.

    Attributes:
        scopes: stamp of an operation (the text in its scope) → index of the hub node that it was emitted for.
        tensors: name of a program value → name of the hub value with the same contents.
        refusals: what is wrong with the interface.

    Args:
        names: input or output of the graph → the name that it is given in the program.
        pictures: input of the graph → what it takes in its place.
        reserved: names that the program is to have for other things.
        states: input of the graph → the output with its value for the next run; neither is in the interface.
        open_shapes: what is known of the graph's open sizes, where it has some.
    """

    def __init__(
        self,
        graph: ir.Graph,
        specification: int,
        source_format: str,
        names: Mapping[str, str] | None = None,
        pictures: Mapping[str, Picture] | None = None,
        reserved: Iterable[str] = (),
        states: Mapping[str, str] | None = None,
        open_shapes: OpenShapes | None = None,
    ) -> None:
        self._mil = toolkit.mil()
        self._builder = self._mil.Builder
        self._scope = toolkit.submodule("converters.mil.mil.scope")
        self._graph = graph
        self._source_format = source_format
        self.specification = specification
        self.opset = toolkit.coremltools().target(specification)
        self.refusals: list[Refusal] = []
        self.tensors: dict[str, str] = {}
        self.input_names: dict[str, TensorSpec] = {}
        self.output_names: dict[str, TensorSpec] = {}
        self.nodes: list[HubNode] = []
        self._names = Names()
        for name in reserved:
            self._names.claim(name)
        self._given = names or {}
        self._pictures = pictures or {}
        self._states = states or {}
        self.open_shapes = open_shapes
        self.dimensions = Dimensions(open_shapes, self.op)
        self._vars: dict[ir.Value, Var] = {}
        self._bound: set[Var] = set()
        self._output_of: dict[ir.Value, str] = {}
        self._unfit: set[str] = set()
        self._hint = ""
        self._stamp: str | None = None
        self._outside: tuple[str | None, str] = (None, "")
        self.function = self._open()

    # -- what lowerings use -------------------------------------------------------------------------------------

    def op(self, operator: str, **arguments: Any) -> Any:
        """Emit one operation; returns its value, or a tuple of them.

        Lists and numbers become constants. coremltools' own inference checks the arguments.

        Raises:
            Refused: it does not accept them; the message is coremltools' own.
        """
        function = getattr(self._builder, operator)
        arguments["name"] = self._names.unique(f"{self._hint}_{operator}" if self._hint else operator)
        source = self._scope.ScopeSource.TORCHSCRIPT_MODULE_NAME
        scopes = [self._scope.ScopeInfo(source, [self._stamp])] if self._stamp is not None else []
        try:
            with self._builder.scope(*scopes):
                return function(**arguments)
        except OverflowError as error:
            raise Refused(f"an argument of {operator} is beyond 32 bits, which is all that Core ML has") from error
        except (ValueError, TypeError, IndexError, AssertionError, NotImplementedError, AttributeError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise Refused(f"coremltools does not accept {operator}: {lines[0] if lines else error!r}") from error

    def var(self, value: ir.Value) -> Var:
        """The program's value of a hub value; a constant is made when it is first asked for."""
        found = self._vars.get(value)
        grid = stored_of(value) if found is None else None
        if grid is not None:
            found = self._vars[value] = self.weight(grid, value.name or "const")
        if found is None:
            array = constant_of(value)
            if array is None:
                raise Refused(f"{value.name!r} is not computed before it is used")
            found = self.const(array.reshape(held_shape(array.shape)), value.name or "const")
            self._vars[value] = found
        return found

    def weight(self, grid: Grid, name: str) -> Var:
        """A constant that is held as integers: it stays so where the target can say it, and is computed elsewhere."""
        found = self._stored(grid, name)
        return self.const(grid.array().reshape(held_shape(grid.data.shape)), name) if found is None else found

    def _stored(self, grid: Grid, name: str) -> Var | None:
        """The constant as it is held, stamped with the layers that it was computed by; ``None`` if it cannot be."""
        made = ir.Node("", "DequantizeLinear", [], outputs=[ir.Value(name=name)], name=name)
        stamp(made, grid.layers)
        outside = self._stamp, self._hint
        self.nodes.append(HubNode(made))
        self._stamp, self._hint = f"{STAMP}{len(self.nodes) - 1}", name
        try:
            found = written(grid, self.specification, self.op)
        finally:
            self._stamp, self._hint = outside
        if found is None:
            self.nodes.pop()
            return None
        self._rename(found, self._names.unique(name))
        self.tensors[found.name] = name
        self._bound.add(found)
        return found

    def const(self, array: Any, name: str = "const") -> Var:
        """A constant of an array, carried as :func:`carried` says.

        Raises:
            LimitError: integers or booleans, which stand in the model's message, are beyond ``folded_elements``.
        """
        if np.asarray(array).dtype.kind in "iub":
            limits.check("folded_elements", np.size(array), f"elements of the constant {name!r}")
        data = carried(np.asarray(array), repr(name))
        check_shape(name, data.shape)
        scalar = data[()] if data.ndim == 0 else data
        return self._builder.const(val=scalar, name=self._names.unique(name))

    def scalar(self, number: float, like: Var) -> Any:
        """The number as a scalar of the same carrier as ``like``."""
        kind = self._mil.types.nptype_from_builtin(like.dtype)
        return kind(number)

    def kind(self, var: Var) -> str:
        """MIL's name of the value's dtype: ``fp32``, ``fp16``, ``int32``, ``bool``."""
        name: str = self._mil.types.builtin_to_string(var.dtype)
        return name

    def is_float(self, var: Var) -> bool:
        """Whether the value is of a floating-point dtype."""
        return self.kind(var) in ("fp32", "fp16")

    def cast(self, var: Var, kind: str) -> Var:
        """The value in another dtype (MIL's name of it); itself if it has that already."""
        return var if self.kind(var) == kind else self.op("cast", x=var, dtype=kind)

    def measures(self, node: HubNode) -> None:
        """Declare that only a run tells how long the node's output is.

        Raises:
            Refused: in a block, whose outputs have to have the same sizes every time.
        """
        block = toolkit.submodule("converters.mil.mil.block").curr_block()
        if not isinstance(block, self._mil.Function):
            raise Refused(
                "how long its result is depends on values at run time, and it is in a branch or loop",
                "compute it outside of the branch or loop",
            )
        node.approximate("its length is what a run makes it; Core ML has no empty tensors, should there be nothing")

    # -- what the engine uses -----------------------------------------------------------------------------------

    def begin(self, node: HubNode) -> None:
        """Stamp what comes with the node, and refuse what no Core ML tensor can hold."""
        self.nodes.append(node)
        self._stamp = f"{STAMP}{len(self.nodes) - 1}"
        self._hint = node.outputs[0].name or node.name
        for value in (*node.inputs, *node.outputs):
            if value is not None and value.name:
                carrier(node.dtype(value))
                if node.operator not in MOVERS:
                    check_rank(value.name, node.shape(value))
        fed = [value for value in node.inputs if value is not None and value.name and not is_constant(value)]
        made = [value for value in node.outputs if value.name]
        if node.operator not in EMPTY_PARTS:
            for value in (*fed, *made):
                check_filled(value.name or "", node.shape(value))
        if not any(may_be_empty(node.shape(value)) for value in fed):  # else what makes that is refused already
            for value in made:
                check_always_filled(value.name or "", node.shape(value))
        if any(value is not None and node.dtype(value) == "float64" for value in (*node.inputs, *node.outputs)):
            node.approximate("float64 is computed in float32: relative 2⁻²⁴ for each operation")

    def elements(self, node: HubNode, elements: np.ndarray[Any, Any]) -> Var:
        """A small tensor that is made of open sizes, in the place of the arithmetic that makes it."""
        self.begin(node)
        node.ignore(*node.node.attributes)
        row = self.dimensions.vector(list(elements.reshape(-1)))
        return self.cast(self.reshape(row, elements.shape), carrier(node.dtype(node.outputs[0])))

    def bind(self, node: HubNode, results: Sequence[Any]) -> None:
        """Check the results against the hub's types and give them the hub's names."""
        wanted = [value for value in node.outputs if value.name and not is_empty(node.shape(value))]
        named = [(value, result) for value, result in zip(node.outputs, results, strict=False) if value in wanted]
        if len(wanted) > len(named) or any(result is None for _, result in named):
            raise Refused("not all outputs are computed: a defect of the workbench, please report it")
        for value, result in named:
            self._check(node, value, result)
        for value, result in named:
            self._vars[value] = self._named(node, value, result)
        self._leave()

    def stand_in(self, node: HubNode) -> None:
        """Give a refused node's outputs values that come from nowhere: the program will not be finished."""
        if node.name not in {known.name for known in self.nodes[-1:]}:
            self.nodes.append(node)
        for value in node.outputs:
            if value.name and value not in self._vars:
                spec = spec_of(value)
                sizes = [size or 1 for size in self.dimensions.symbolic(self._known_sizes(value))]
                try:
                    kind = carrier_type(spec.dtype)
                except Refused:
                    kind = self._mil.types.fp32
                self._vars[value] = self._placeholder(sizes, kind, "refused").outputs[0]
        self._leave()

    def finish_outputs(self) -> None:
        """Set the function's outputs: of the types that Core ML's interface has, under their own names."""
        results = []
        kept = {output: name for name, output in self._states.items()}
        for value in self._graph.outputs:
            self._stamp = None
            self._hint = value.name or "output"
            if value.name in kept:
                self._keep(value, kept[value.name])
            else:
                results.append(self._output(value))
        self.function.set_outputs(results)

    def _keep(self, value: ir.Value, name: str) -> None:
        """Write what is to be read in the next run into the state."""
        state = next(var for own, var in self._pending_inputs.items() if own.name == name)
        self.op("coreml_update_state", state=state, value=self.cast(self.var(value), "fp16"))
        self.output_names[state_output(state.name)] = spec_of(value)

    # -- what control flow uses -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def nested(self) -> Iterator[None]:
        """Build a block of the operation under way: what is made in it is not seen outside of it."""
        outside = self._vars, self._bound, self._outside, self._stamp, self._hint
        self._vars, self._bound = dict(self._vars), set(self._bound)
        self._outside = self._stamp, self._hint
        try:
            yield
        finally:
            self._vars, self._bound, self._outside, self._stamp, self._hint = outside

    def opaque(self, var: Var) -> Var:
        """A value that coremltools does not follow, where it would take a loop's variable for what it begins with."""
        if var.val is None:
            return var
        made = self.op("identity", x=var) if var.op is None or var.op.op_type == "const" else var
        made._sym_val = None
        return made

    def adopt(self, value: ir.Value, var: Var) -> None:
        """An input of a subgraph is this value of the program."""
        self._vars[value] = var
        self._bound.add(var)

    def makes(self, var: Var) -> bool:
        """Whether an operation of the innermost block makes the value."""
        block = toolkit.submodule("converters.mil.mil.block").curr_block()
        return var.op is not None and var.op.op_type != "const" and var.op.enclosing_block is block

    # -- inside -------------------------------------------------------------------------------------------------

    def _leave(self) -> None:
        self._stamp, self._hint = self._outside

    def _known_sizes(self, value: ir.Value) -> list[Any]:
        """The value's shape, with 1 for what is not known."""
        found = self.open_shapes.shape(value) if self.open_shapes is not None else spec_of(value).shape
        return [size if isinstance(size, int | Size) else 1 for size in found or ()]

    def _placeholder(self, shape: Sequence[int], kind: Any, name: str) -> Any:
        """A placeholder; coremltools takes no symbols of our own, so it gets them afterwards."""
        fixed = [size if isinstance(size, int) else 1 for size in shape]
        made = self._builder.placeholder(fixed, kind, allow_rank0_input=True, name=name)
        if fixed != list(shape):
            made.sym_shape = list(shape)
            made._infer_output_var()
        return made

    def _open(self) -> Any:
        """Make the function with its inputs, named before everything else."""
        placeholders: dict[str, Any] = {}
        carriers: dict[ir.Value, str] = {}
        for value in self._graph.inputs:
            spec = spec_of(value)
            name = self._names.unique(self._given.get(spec.name, spec.name))
            self.input_names[name] = spec
            carriers[value] = name
            if spec.name in self._states:
                sizes = [int(str(size)) for size in spec.shape or ()]
                placeholders[name] = self._builder.state_tensor_placeholder(sizes, self._mil.types.fp16)
                self._names.claim(state_output(name))
                continue
            shape, kind = self._interface(spec, value)
            placeholders[name] = self._placeholder(self.dimensions.symbolic(shape), kind, name)
        for value in self._graph.outputs:
            name = value.name or "output"
            if name in self._states.values():
                continue
            self._output_of[value] = self._names.unique(self._given.get(name, name))
            self.output_names[self._output_of[value]] = spec_of(value)
        function = self._mil.Function(placeholders, self.opset)
        self._pending_inputs = {value: function.inputs[name] for value, name in carriers.items()}
        return function

    def adopt_inputs(self) -> None:
        """Give the hub's inputs their values, cast and reshaped from what the interface can hold."""
        for value, var in self._pending_inputs.items():
            spec = spec_of(value)
            self._hint = spec.name
            self.dimensions.adopt_input(var, self.shape(var))
            if spec.name in self._states:
                read = self.op("read_state", input=var)
                self._vars[value] = self.cast(read, carrier(spec.dtype))
                self.tensors[read.name] = self.tensors[self._vars[value].name] = spec.name
                continue
            picture = self._pictures.get(spec.name)
            if picture is not None:
                found = self.cast(self._developed(var, picture.pixels), carrier(spec.dtype))
                self.tensors[found.name] = spec.name
                self._vars[value] = found
                continue
            self.tensors[var.name] = spec.name
            self._vars[value] = var
            if spec.name not in self._unfit:
                self._vars[value] = self.reshape(self.cast(var, carrier(spec.dtype)), self._shape_of(value))
        self._leave()

    def _developed(self, var: Var, pixels: Pixels) -> Var:
        """The values that the graph takes, from the pixels that the program takes."""
        scale, bias = (np.asarray(numbers, np.float32).reshape(1, -1, 1, 1) for numbers in (pixels.scale, pixels.bias))
        scaled = self.op("mul", x=var, y=self.const(scale, f"{self._hint}_scale"))
        found = self.op("add", x=scaled, y=self.const(bias, f"{self._hint}_bias"))
        return found if pixels.perm is None else self.op("transpose", x=found, perm=list(pixels.perm))

    def _shape_of(self, value: ir.Value) -> tuple[int, ...]:
        """The hub value's shape.

        Raises:
            Refused: it is not known.
        """
        spec = spec_of(value)
        found = self.open_shapes.shape(value) if self.open_shapes is not None else spec.shape
        if found is None or not all(isinstance(size, int | Size) for size in found):
            raise Refused(
                f"its shape {spec.describe()} is not fixed",
                "fix it with shapes={…}, or give its dimensions a Range there",
            )
        return found  # type: ignore[return-value]  # numbers and sizes, as checked

    def _interface(self, spec: TensorSpec, value: ir.Value) -> tuple[Sequence[int], Any]:
        """Shape and type of an input as Core ML's interface has it."""
        types = self._mil.types
        if spec.name in self._pictures:
            return self._pictures[spec.name].shape, types.fp32
        try:
            shape = self._shape_of(value)
            check_shape(spec.name, shape)
            return shape or (1,), self._interface_type(carrier(spec.dtype))
        except Refused as refusal:
            self._unfit.add(spec.name)
            self.refusals.append(
                Refusal(self._source_format, "coreml", "input", spec.name, refusal.cause, refusal.way_out)
            )
            return (1,), types.fp32

    def _interface_type(self, kind: str) -> Any:
        """Core ML's interface has float32, int32 and, from iOS16 on, float16."""
        types = self._mil.types
        if kind == "fp16" and self.specification >= IOS16:
            return types.fp16
        return types.int32 if kind == "int32" else types.fp32

    def _output(self, value: ir.Value) -> Var:
        spec = spec_of(value)
        try:
            check_filled(spec.name, tuple(self._known_sizes(value)))
            var = self.var(value)
            kind = self._mil.types.builtin_to_string(self._interface_type(self.kind(var)))
            found = self.reshape(self.cast(var, kind), self.shape(var) or (1,))
        except Refused as refusal:
            self.refusals.append(
                Refusal(self._source_format, "coreml", "output", spec.name, refusal.cause, refusal.way_out)
            )
            return self.op("identity", x=np.float32(0))
        name = self._output_of[value]
        if found.name != name:
            if found is var or found.op is None or found.op.op_type == "const":
                found = self.op("identity", x=found)
            self._rename(found, name)
        self.tensors[name] = spec.name
        return found

    def _check(self, node: HubNode, value: ir.Value, result: Any) -> None:
        """The result has to be what the hub says; anything else is a defect of the lowering."""
        expected = (held_shape(node.shape(value)), carrier(node.dtype(value)))
        found = (tuple(result.shape), self.kind(result))
        if found[1] != expected[1] or not _agree(found[0], expected[0]):
            raise Refused(
                f"the lowering made {found[1]}{list(found[0])} for {value.name!r}, which is "
                f"{expected[1]}{list(expected[0])}: a defect of the workbench, please report it"
            )

    def _named(self, node: HubNode, value: ir.Value, result: Var) -> Var:
        """The result under the hub value's name; what has a name of its own already is passed through ``identity``."""
        if result in self._bound or result.op is None or result.op.op_type == "const":
            result = self.op("identity", x=result)
        name = self._output_of.get(value) if self._fits_interface(result) else None
        self._rename(result, name or self._names.unique(value.name or "value"))
        shape = held_shape(node.shape(value))
        self.dimensions.typed(result, shape)
        self.dimensions.adopt_measured(result, shape)
        self._bound.add(result)
        self.tensors[result.name] = value.name or ""
        return result

    def _fits_interface(self, var: Var) -> bool:
        return bool(var.shape) and self._interface_type(self.kind(var)) is var.dtype

    @staticmethod
    def _rename(var: Var, name: str) -> None:
        var.name = name
        if len(var.op.outputs) == 1:
            var.op.name = name


def _agree(found: Sequence[Any], expected: Sequence[Extent]) -> bool:
    """Whether coremltools has inferred the shape, as far as it can: a symbol of its own may be any size."""
    return len(found) == len(expected) and all(
        hasattr(own, "free_symbols") or (not isinstance(size, Size) and own == size)
        for own, size in zip(found, expected, strict=True)
    )
