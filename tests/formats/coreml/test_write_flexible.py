"""Inputs that take several shapes: what is written computes the same at every size in the range, or is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest

from tests.formats.coreml.writing import Array, run
from workbench import ConversionError, ExecutionError, OptionError, Range, compare, load
from workbench.hub import OPSET
from workbench.hub.ranges import ShapeOption
from workbench.model import Model

RNG = np.random.default_rng(4)
N, S, H, W = Range(1, 5, 2), Range(1, 40, 7), Range(8, 60, 20), Range(8, 60, 33)
PLANES = {"x": (N, 3, H, W)}
ROWS = {"x": (N, S, 12)}


def floats(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*numbers: int) -> Array:
    return np.asarray(numbers, np.int64)


@dataclass(frozen=True)
class Case:
    """A graph in ONNX's text form, and the shapes that its inputs take.

    Attributes:
        inputs: declarations, ``float[n, 3, h, w] x``; sizes of one name are always equal.
        nodes: ``;`` between them; the result is ``y``.
        constants: initializers.
        operations: MIL operators that the program has to have, where that is the point.
    """

    name: str
    inputs: str
    nodes: str
    shapes: Mapping[str, ShapeOption]
    constants: Mapping[str, Any] = field(default_factory=dict)
    operations: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return self.name

    def model(self) -> onnx.ModelProto:
        lines = self.nodes.replace(";", "\n")
        graph = onnx.parser.parse_graph(f"case ({self.inputs}) => (float y) {{ {lines} }}")
        graph.output[0].type.Clear()
        for name, array in self.constants.items():
            graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=10)

    def feeds(self, place: str) -> dict[str, Array]:
        """At the ``lowest`` sizes, the ``highest``, or the ``default``."""
        feeds: dict[str, Array] = {}
        dtypes = {1: np.float32, 7: np.int64}
        for info in self.model().graph.input:
            shape = [_size(size, place) for size in self.shapes[info.name]]
            numbers = RNG.standard_normal(shape) if info.type.tensor_type.elem_type == 1 else RNG.integers(0, 4, shape)
            feeds[info.name] = numbers.astype(dtypes[info.type.tensor_type.elem_type])
        return feeds


def _size(size: Any, place: str) -> int:
    if isinstance(size, int):
        return size
    sizes: dict[str, int] = {"lowest": size.low, "highest": size.high, "default": size.usual}
    return sizes[place]


def image(name: str, nodes: str, operations: Sequence[str] = (), **constants: Any) -> Case:
    return Case(name, "float[n, 3, h, w] x", nodes, PLANES, constants, frozenset(operations))


def rows(name: str, nodes: str, operations: Sequence[str] = (), **constants: Any) -> Case:
    return Case(name, "float[n, s, 12] x", nodes, ROWS, constants, frozenset(operations))


CASES = [
    rows("elementwise", "a = Exp(x); b = Mul(a, k); c = Clip(b, low, high); d = Tanh(c); y = Sub(d, x)",
         k=floats(12), low=np.float32(-1), high=np.float32(1)),
    Case("two_inputs_of_one_size", "float[n, s] x, float[n, s] z", "y = Add(x, z)", {"x": (N, S), "z": (N, S)}),
    Case("a_size_that_may_be_one", "float[n, s] x, float[m, s] z", "y = Mul(x, z)", {"x": (N, S), "z": (1, S)}),
    rows("comparison_and_choice", "a = Greater(x, k); b = Neg(x); y = Where(a, x, b)", k=floats(1, 12)),
    rows("choice_among_smaller", "a = Greater(x, k); y = Where(a, k, zero)", k=floats(12), zero=np.float32(0)),
    rows("booleans", "a = Greater(x, k); b = Not(a); c = Or(a, b); y = Cast<to=1>(c)", k=floats(12)),
    rows("prelu_by_channel", "y = PRelu(x, k)", k=floats(12)),
    image("convolution", "y = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w, b)", w=floats(4, 3, 3, 3), b=floats(4)),
    image("dilated", "y = Conv<dilations=[2,3], pads=[0,1,2,3]>(x, w)", w=floats(4, 3, 3, 2)),
    image("grouped", "y = Conv<group=3>(x, w)", w=floats(6, 1, 3, 3)),
    image("same_upper", 'y = Conv<auto_pad="SAME_UPPER", strides=[2,3]>(x, w)', w=floats(4, 3, 3, 4)),
    image("same_lower", 'y = Conv<auto_pad="SAME_LOWER", strides=[2,3]>(x, w)', w=floats(4, 3, 3, 4)),
    image("same_by_one", 'y = Conv<auto_pad="SAME_LOWER">(x, w)', w=floats(4, 3, 2, 4)),
    image("transposed", "y = ConvTranspose<strides=[2,2], pads=[1,0,0,1]>(x, w)", w=floats(3, 4, 3, 3)),
    image("transposed_padded", "y = ConvTranspose<strides=[2,3], output_padding=[1,2]>(x, w)", w=floats(3, 4, 2, 2)),
    image("max_pool", "y = MaxPool<kernel_shape=[3,2], strides=[2,2], pads=[1,0,1,1]>(x)"),
    image("max_pool_dilated", "y = MaxPool<kernel_shape=[2,2], dilations=[2,3]>(x)"),
    image("average_pool", "y = AveragePool<kernel_shape=[3,3], strides=[2,1], pads=[1,1,0,1]>(x)"),
    image("average_with_padding", "y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(x)"),
    image("same_pool", 'y = MaxPool<kernel_shape=[3,3], strides=[2,2], auto_pad="SAME_UPPER">(x)'),
    image("global_pool", "a = GlobalAveragePool(x); y = Flatten(a)"),
    image("flattened", "y = Flatten<axis=2>(x)"),
    image("batch_norm", "y = BatchNormalization(x, g, b, m, v)",
          g=floats(3), b=floats(3), m=floats(3), v=np.abs(floats(3))),
    image("instance_norm", "y = InstanceNormalization(x, g, b)", g=floats(3), b=floats(3)),
    image("group_norm", "y = GroupNormalization<num_groups=3>(x, g, b)", g=floats(3), b=floats(3)),
    rows("layer_norm", "y = LayerNormalization(x, g, b)", ["layer_norm"], g=floats(12), b=floats(12)),
    rows("rms_norm", "y = RMSNormalization(x, g)", g=floats(12)),
    rows("softmax", "y = Softmax<axis=1>(x)"),
    rows("log_softmax", "y = LogSoftmax(x)"),
    rows("hardmax", "y = Hardmax<axis=1>(x)"),
    rows("mean", "y = ReduceMean<keepdims=0>(x, axes)", axes=ints(1)),
    rows("sum_of_all", "y = ReduceSum<keepdims=0>(x)"),
    rows("argmax", "a = ArgMax<axis=1>(x); y = Cast<to=1>(a)"),
    rows("argmax_last", "a = ArgMax<axis=1, select_last_index=1>(x); y = Cast<to=1>(a)"),
    rows("cumulative", "y = CumSum(x, axis)", axis=np.int64(1)),
    rows("top", "y, i = TopK<axis=2>(x, k)", k=ints(3)),
    rows("linear", "y = MatMul(x, w)", w=floats(12, 5)),
    Case("gemm", "float[n, 12] x", "y = Gemm<transB=1>(x, w, b)", {"x": (N, 12)},
         {"w": floats(5, 12), "b": floats(5)}, frozenset({"linear"})),
    rows("products", "a = Transpose<perm=[0,2,1]>(x); b = MatMul(x, a); y = MatMul(b, x)"),
    rows("vector", "y = MatMul(x, w)", w=floats(12)),
    rows("einsum", 'y = Einsum<equation="bsi,io->bso">(x, w)', w=floats(12, 3)),
    rows("einsum_of_two_open", 'y = Einsum<equation="bsi,bti->bst">(x, x)'),
    rows("transposed", "y = Transpose<perm=[1,0,2]>(x)"),
    rows("squeezed", "a = Unsqueeze(x, axes); b = Relu(a); y = Squeeze(b, axes)", axes=ints(1)),
    rows("heads_by_constants", "a = Reshape(x, shape); y = Transpose<perm=[0,2,1,3]>(a)", shape=ints(0, 0, 3, 4)),
    rows("heads_by_the_rest", "y = Reshape(x, shape)", shape=ints(0, -1, 3, 4)),
    rows("one_row", "y = Reshape(x, shape)", shape=ints(-1)),
    rows("rows_of_another_length", "y = Reshape(x, shape)", shape=ints(-1, 6)),
    rows("shape_arithmetic",
         "s = Shape(x); b = Gather(s, zero); t = Gather(s, one); u = Unsqueeze(b, axes); v = Unsqueeze(t, axes);"
         "w = Mul(u, v); c = Concat<axis=0>(w, twelve); y = Reshape(x, c)",
         zero=np.int64(0), one=np.int64(1), axes=ints(0), twelve=ints(12)),
    rows("shape_by_division",
         "s = Shape(x); p = ReduceProd<keepdims=1>(s); q = Div(p, six); c = Concat<axis=0>(q, six); y = Reshape(x, c)",
         six=ints(6)),
    rows("shape_as_data", "s = Shape(x); f = Cast<to=1>(s); r = ReduceSum<keepdims=0>(f); y = Mul(x, r)"),
    rows("root_of_a_fixed_size", "s = Shape<start=-1>(x); f = Cast<to=1>(s); r = Sqrt(f); y = Div(x, r)"),
    rows("count_of_elements", "s = Size(x); f = Cast<to=1>(s); y = Div(x, f)"),
    rows("concatenated", "y = Concat<axis=1>(x, x, x)"),
    rows("appended", "s = Shape(x); b = Slice(s, zero, one); c = Concat<axis=0>(b, tail); f = Expand(k, c);"
         "y = Concat<axis=1>(f, x)", zero=ints(0), one=ints(1), tail=ints(1, 12), k=floats(1, 1, 12)),
    rows("split_fixed", "a, b, c = Split<axis=2, num_outputs=3>(x); y = Mul(a, c)"),
    Case("split_open", "float[n, s, 4] x", "a, b = Split<axis=1>(x, parts); y = Concat<axis=1>(b, a)",
         {"x": (N, 8, 4)}, {"parts": ints(3, 5)}),
    Case("split_in_halves", "float[n, s] x, float[n, s] z",
         "a = Concat<axis=1>(x, z); b, c = Split<axis=1, num_outputs=2>(a); y = Sub(b, c)", {"x": (N, S), "z": (N, S)}),
    rows("slice_fixed", "y = Slice(x, a, b, axes)", a=ints(2), b=ints(-3), axes=ints(2)),
    rows("first", "a = Gather<axis=1>(x, i); y = Tanh(a)", i=np.int64(0)),
    rows("last", "y = Gather<axis=1>(x, i)", i=np.int64(-1)),
    rows("cut_at_the_end", "a = Concat<axis=1>(x, x); y = Slice(a, b, e, axes)", b=ints(0), e=ints(-1), axes=ints(1)),
    rows("cut_in_front", "a = Concat<axis=1>(x, x); y = Slice(a, b, e, axes)",
         b=ints(1), e=ints(2**63 - 1), axes=ints(1)),
    rows("every_second", "y = Slice(x, b, e, axes, steps)",
         b=ints(0), e=ints(2**63 - 1), axes=ints(1), steps=ints(2)),
    rows("backwards", "y = Slice(x, b, e, axes, steps)",
         b=ints(-1), e=ints(-(2**63)), axes=ints(1), steps=ints(-1)),
    rows("at_most_five", "y = Slice(x, b, e, axes)", b=ints(0), e=ints(5), axes=ints(1)),
    rows("as_many_positions", "s = Shape<start=1, end=2>(x); a = Slice(table, zero, s, zero); y = Add(x, a)",
         table=floats(40, 12), zero=ints(0)),
    rows("expanded", "s = Shape(x); y = Expand(k, s)", k=floats(12)),
    rows("expanded_among_others", "s = Shape(x); e = Equal(s, minus); w = Where(e, ones, s); y = Expand(k, w)",
         minus=ints(-1, -1, -1), ones=ints(1, 1, 1), k=floats(1, 12)),
    rows("tiled", "y = Tile(x, r)", r=ints(1, 2, 3)),
    rows("tiled_by_a_size", "s = Shape<start=1, end=2>(x); c = Concat<axis=0>(one, s, one); m = ReduceMean(x, one);"
         "y = Tile(m, c)", one=ints(1)),
    rows("padded", "y = Pad(x, p, v)", p=ints(0, 1, 2, 0, 3, 0), v=np.float32(0.5)),
    rows("cropped", "a = Concat<axis=1>(x, x); y = Pad(a, p)", p=ints(0, -1, 0, 0, 2, 0)),
    image("reflected", 'y = Pad<mode="reflect">(x, p)', p=ints(0, 0, 2, 1, 0, 0, 3, 1)),
    Case("padded_integers", "int64[n, s] x", "a = Pad(x, p, v); y = Cast<to=1>(a)", {"x": (N, S)},
         {"p": ints(0, 1, 0, 2), "v": np.int64(7)}),
    rows("filled", "s = Shape(x); f = ConstantOfShape<value: tensor = float[1] {2.5}>(s); y = Add(x, f)"),
    rows("counted", "s = Shape(x); n = Gather(s, one); r = Range(zero, n, one); f = Cast<to=1>(r); "
         "u = Unsqueeze(f, one_axis); y = Add(x, u)", one=np.int64(1), zero=np.int64(0), one_axis=ints(1)),
    rows("causal", "a = Transpose<perm=[0,2,1]>(x); b = MatMul(x, a); y = Trilu<upper=0>(b)"),
    rows("causal_by_positions",
         "s = Shape(x); n = Gather(s, one); r = Range(zero, n, one); u = Unsqueeze(r, first); m = LessOrEqual(r, u);"
         "a = Transpose<perm=[0,2,1]>(x); b = MatMul(x, a); y = Where(m, b, low)",
         one=np.int64(1), zero=np.int64(0), first=ints(1), low=np.float32(-9)),
    Case("embedding", "int64[n, s] x", "y = Gather(table, x)", {"x": (N, S)}, {"table": floats(9, 6)}),
    Case("one_hot", "int64[n, s] x", "y = OneHot(x, d, v)", {"x": (N, S)},
         {"d": np.int64(4), "v": np.asarray([0, 1], np.float32)}),
    rows("gathered_by_elements", "i = ArgMax<axis=2>(x); y = GatherElements<axis=2>(x, i)"),
    image("nearest", 'y = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">'
          "(x, , f)", ["upsample_nearest_neighbor"], f=np.asarray([1, 1, 2, 3], np.float32)),
    image("linear", 'y = Resize<mode="linear">(x, , f)', ["upsample_bilinear"], f=np.asarray([1, 1, 2, 2], np.float32)),
    image("aligned", 'y = Resize<mode="linear", coordinate_transformation_mode="align_corners">(x, , f)',
          f=np.asarray([1, 1, 2, 2], np.float32)),
    image("to_twice_the_shape", "s = Shape<start=2>(x); d = Mul(s, two); b = Shape<end=2>(x); c = Concat<axis=0>(b, d);"
          'y = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">(x, , , c)',
          two=ints(2)),
    rows("nearest_in_a_row", 'y = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", '
         'nearest_mode="floor">(x, , f)', f=np.asarray([1, 4, 1], np.float32)),
    Case("blocks", "float[n, 4, h, w] x", "a = DepthToSpace<blocksize=2>(x); y = SpaceToDepth<blocksize=2>(a)",
         {"x": (N, 4, H, W)}),
    Case("lstm", "float[s, n, 3] x", "y, h, c = LSTM<hidden_size=4>(x, w, r, b)", {"x": (S, N, 3)},
         {"w": floats(1, 16, 3), "r": floats(1, 16, 4), "b": floats(1, 32)}),
    Case("lstm_both_ways", "float[s, n, 3] x", 'y, h, c = LSTM<hidden_size=4, direction="bidirectional">(x, w, r)',
         {"x": (S, N, 3)}, {"w": floats(2, 16, 3), "r": floats(2, 16, 4)}),
    Case("chosen", "float[n, s] x", "m = ReduceSum<keepdims=0>(x); c = Greater(m, zero); y = If(c) "
         "<then_branch = t () => (float[n, s] a) { a = Exp(x) }, else_branch = e () => (float[n, s] a) { a = Neg(x) }>",
         {"x": (N, S)}, {"zero": np.float32(0)}),
]  # fmt: skip


def converted(case: Case, **options: Any) -> Model:
    return load(case.model()).convert("coreml", shapes=case.shapes, **options)


def same_at(case: Case, model: Model, place: str, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    feeds = case.feeds(place)
    (want,), (got,) = run(case.model(), feeds).values(), model.run(feeds).values()
    assert got.shape == want.shape or (not want.shape and got.shape == (1,))
    np.testing.assert_allclose(got.reshape(want.shape), want, rtol, atol)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_same_at_every_size(case: Case) -> None:
    model = converted(case)
    for place in ("lowest", "default", "highest"):
        same_at(case, model, place)
    assert case.operations <= {layer.operator for layer in model.layers}


NAMED = {case.name: case for case in CASES}
ANYWHERE = ("convolution", "layer_norm", "shape_arithmetic", "appended", "causal_by_positions", "linear", "lstm")


@pytest.mark.parametrize("name", ANYWHERE)
@pytest.mark.parametrize(
    "options", [{"target": "iOS15"}, {"target": "iOS26"}, {"target": "iOS18", "precision": "fp16"}], ids=str
)
def test_targets_and_precisions(name: str, options: dict[str, Any]) -> None:
    model = converted(NAMED[name], **options)
    rounding = 2e-2 if "precision" in options else 1e-4
    for place in ("lowest", "highest"):
        same_at(NAMED[name], model, place, rounding, rounding)


def test_ranges_and_their_defaults_are_described() -> None:
    model = converted(image("relu", "y = Relu(x)"))
    (feature,) = model.document.interface.inputs  # type: ignore[attr-defined]
    assert feature.shape == (2, 3, 20, 33)
    assert feature.sizes == ((1, 5), (3, 3), (8, 60), (8, 60))
    assert not feature.shapes


def test_a_feed_out_of_the_range_is_refused() -> None:
    model = converted(image("relu", "y = Relu(x)"))
    with pytest.raises(ExecutionError, match=r"shape \[1, 3, 61, 8\]; the model takes \[1 to 5, 3, 8 to 60, 8 to 60\]"):
        model.run({"x": floats(1, 3, 61, 8)})


SHAPES = [(1, 3, 20, 33), (1, 3, 8, 8), (1, 3, 64, 33)]


def test_enumerated_shapes() -> None:
    case = Case("pool", "float[n, 3, h, w] x", "y = MaxPool<kernel_shape=[2,2]>(x)", {"x": SHAPES})
    model = converted(case)
    (feature,) = model.document.interface.inputs  # type: ignore[attr-defined]
    assert (feature.shape, feature.shapes) == (SHAPES[0], tuple(SHAPES))
    for shape in SHAPES:
        feeds = {"x": floats(*shape)}
        (want,), (got,) = run(case.model(), feeds).values(), model.run(feeds).values()
        np.testing.assert_array_equal(got, want)
    with pytest.raises(ExecutionError, match=r"takes \[1, 3, 20, 33\] or \[1, 3, 8, 8\] or \[1, 3, 64, 33\]"):
        model.run({"x": floats(1, 3, 8, 33)})


@pytest.mark.parametrize("name", ["convolution", "shape_arithmetic", "two_inputs_of_one_size"])
def test_the_comparison_takes_the_default_sizes(name: str) -> None:
    case = NAMED[name]
    source = load(case.model())
    model = source.convert("coreml", shapes=case.shapes)
    report = compare(source, model)
    assert report.ok
    assert {row.status for row in report.rows} <= {"ok", "unmatched"}


def test_pictures_of_several_sizes() -> None:
    case = Case("picture", "float[n, h, w, 3] x", "a = Transpose<perm=[0,3,1,2]>(x); y = Conv<pads=[1,1,1,1]>(a, k)",
                {"x": (1, Range(8, 40, 16), Range(8, 64, 24), 3)}, {"k": floats(2, 3, 3, 3)})  # fmt: skip
    model = converted(case, images={"x": {"scale": 1 / 255}})
    (feature,) = model.document.interface.inputs  # type: ignore[attr-defined]
    assert (feature.kind, feature.shape) == ("image", (1, 3, 16, 24))
    assert feature.sizes == ((1, 1), (3, 3), (8, 40), (8, 64))
    for height, width in ((8, 8), (40, 64)):
        pixels = RNG.integers(0, 256, (1, 3, height, width)).astype(np.float32)
        (want,) = run(case.model(), {"x": (pixels / 255).transpose(0, 2, 3, 1)}).values()
        (got,) = model.run({"x": pixels}).values()
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    assert compare(load(case.model()), model).ok


def test_pictures_of_enumerated_sizes() -> None:
    case = Case("picture", "float[n, 3, h, w] x", "y = Relu(x)", {"x": [(1, 3, 16, 24), (1, 3, 8, 8)]})
    model = converted(case, images={"x": {}})
    (feature,) = model.document.interface.inputs  # type: ignore[attr-defined]
    assert (feature.kind, feature.shapes) == ("image", ((1, 3, 16, 24), (1, 3, 8, 8)))
    with pytest.raises(ExecutionError, match="takes"):
        model.run({"x": floats(1, 3, 8, 24)})


REFUSED = [
    (rows("emptied", "y = Slice(x, b, e, axes)", b=ints(2), e=ints(99), axes=ints(1)),
     "'y' may be empty, for .* may be 0.* with 's' .1 to 40.; fix it with shapes={…}, or narrow its range"),
    (image("too_small", "y = Conv(x, w)", w=floats(4, 3, 9, 9)), "'y' may be empty.*with 'h' .8 to 60."),
    (image("rounded_up", "y = MaxPool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(x)"),
     "the size of 'y' along axis 2 does not follow from the open sizes 'n' .1 to 5., 'h'"),
    (image("by_a_fraction", 'y = Resize(x, , f)', f=np.asarray([1, 1, 1.5, 2], np.float32)), "Resize-19 .* axis 2"),
    (image("cubic", 'y = Resize<mode="cubic">(x, , f)', f=np.asarray([1, 1, 2, 2], np.float32)), "the mode 'cubic'"),
    (rows("gathered_beyond", "y = Gather<axis=1>(x, i)", i=ints(6)), "depends on whether s is .*6, with 's' .1 to 40."),
    (rows("reversed_reflection", 'y = Pad<mode="reflect">(x, p)', p=ints(0, 2, 0, 0, 0, 0)), "with 's' .1 to 40."),
    (rows("any_ones", "y = Squeeze(x)"), "the shape of 'y' depends on values at run time"),
    (Case("steps", "float[s, n, 3] x", "y, h = GRU<hidden_size=4>(x, w, r)", {"x": (S, N, 3)},
          {"w": floats(1, 12, 3), "r": floats(1, 12, 4)}), "a GRU is written out step by step, with 's'"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "message"), REFUSED, ids=[str(case) for case, _ in REFUSED])
def test_what_depends_on_the_size_is_refused(case: Case, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        converted(case)


TWO = Case("two", "float[n, s] x, float[n, s] z", "y = Add(x, z)", {})

OPTIONS = [
    ({"x": (Range(1), 4), "z": (Range(1), 4)}, {}, "dimension 0 of 'x' has no upper end"),
    ({"x": (N, 4), "z": (Range(1, 9), 4)}, {}, "the dimension 'n' is one wherever"),
    ({"x": (N, 4), "z": (2, 4)}, {}, "the dimension 'n' is one wherever"),
    ({"x": [(1, 4), (2, 4)], "z": [(1, 4), (2, 4)]}, {}, "the dimension 'n' is one wherever"),
    ({"x": (N, 4), "z": (N, 4)}, {"states": {"x": "y"}, "target": "iOS18"}, "states: "),
]


@pytest.mark.parametrize(("shapes", "options", "message"), OPTIONS)
def test_options_that_do_not_fit(shapes: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        load(TWO.model()).convert("coreml", shapes=shapes, **options)


def test_enumerated_shapes_are_for_one_input() -> None:
    case = Case("two", "float[n, s] x, float[m, t] z", "a = ReduceSum(x); y = Add(a, z)", {})
    with pytest.raises(OptionError, match="'x' takes enumerated shapes; Core ML then fixes every other input, but 'z'"):
        load(case.model()).convert("coreml", shapes={"x": [(1, 4), (2, 4)], "z": (Range(1, 3), 4)})


@pytest.mark.parametrize(
    ("target", "message"),
    [("nnef", "a model in NNEF has one shape for each input"), ("onnx", "leave 'x' out of shapes to keep it open")],
)
def test_formats_without_ranges_say_so(target: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        load(TWO.model()).convert(target, shapes={"x": (N, 4), "z": (N, 4)})


def test_an_open_input_is_told_of_both_ways() -> None:
    with pytest.raises(ConversionError, match=r"pass shapes={'x': \(1, 1\)} for example, or a range, wb.Range\(1, 8\)"):
        load(TWO.model()).convert("coreml")


def test_no_size_is_taken_for_the_default() -> None:
    """What the model declares of the tensors inside is of one size, and is not believed."""
    case = rows("stale", "a = Relu(x); s = Shape(a); y = Reshape(a, s)")
    proto = case.model()
    proto.graph.value_info.append(onnx.helper.make_tensor_value_info("a", 1, [2, 7, 12]))
    model = load(proto).convert("coreml", shapes=case.shapes)
    same_at(case, model, "highest")


def test_the_package_is_the_same_every_time(tmp_path: Any) -> None:
    case = NAMED["appended"]
    specs = [
        (converted(case).save(tmp_path / f"{n}.mlpackage") / "Data/com.apple.CoreML/model.mlmodel").read_bytes()
        for n in range(2)
    ]
    assert specs[0] == specs[1]
