"""The onnxruntime executor: plain and tapped, weights not copied, float16 rounding kept, errors that name the cause."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from workbench.document import TensorSpec
from workbench.errors import ExecutionError
from workbench.executors import Fragment, OnnxRuntimeExecutor, check_feeds
from workbench.executors.fragment import INLINE_BYTES
from workbench.hub import Emitter

X = np.asarray([[0.1, -0.2, 0.3, 1.0001]], np.float32)


def small() -> ir.Model:
    emitter = Emitter("small")
    x = emitter.input("x", "float32", ["batch", 4])
    weight = emitter.const(np.arange(16, dtype=np.float32).reshape(4, 4), name="w")
    hidden = emitter.rename(emitter.op("MatMul", x, weight), "hidden")
    return emitter.finish([emitter.rename(emitter.op("Relu", hidden), "y"), weight, x])


def executor(model: ir.Model) -> OnnxRuntimeExecutor:
    return OnnxRuntimeExecutor(model, "onnx model 'small'")


def test_outputs_come_in_order_inputs_and_constants_among_them() -> None:
    with executor(small()) as runner:
        found = runner.run({"x": X})
    assert list(found) == ["y", "w", "x"]
    np.testing.assert_allclose(found["y"], np.maximum(X @ found["w"], 0), rtol=1e-6)
    assert found["x"] is X


def test_taps_return_what_was_asked_for_and_nothing_else() -> None:
    runner = executor(small())
    found = runner.run({"x": X}, ["hidden", "x", "w"])
    assert list(found) == ["hidden", "x", "w"]
    np.testing.assert_allclose(found["hidden"], X @ found["w"], rtol=1e-6)


def test_sessions_are_kept_for_the_same_request() -> None:
    runner = executor(small())
    runner.run({"x": X})
    plain = runner._plain
    runner.run({"x": X}, ["hidden"])
    tapped = runner._tapped
    runner.run({"x": np.concatenate([X, X])}, ["hidden"])
    runner.run({"x": X})
    assert runner._plain is plain is not None
    assert runner._tapped is tapped is not None
    runner.close()
    assert runner._plain is None


@pytest.mark.parametrize("tensors", [None, ["a", "b", "y"]])
def test_float16_rounding_survives(tensors: list[str] | None) -> None:
    """Cast pairs are the arithmetic of a float16 program; an optimiser that drops them computes something else."""
    emitter = Emitter("casts")
    x = emitter.input("x", "float32", [1, 4])
    a = emitter.rename(emitter.op("Relu", x), "a")
    b = emitter.rename(emitter.op("Cast", a, to=ir.DataType.FLOAT16.value), "b")
    rounded = emitter.op("Cast", b, to=ir.DataType.FLOAT.value)
    model = emitter.finish([emitter.rename(emitter.op("Mul", rounded, rounded), "y")])
    found = executor(model).run({"x": X}, tensors)["y"]
    half = np.maximum(X, 0).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(found, half * half)
    assert not np.array_equal(found, X * X)


def test_large_weights_are_shared_not_copied() -> None:
    emitter = Emitter("large")
    weight = np.ones((64, 64), np.float32)
    assert weight.nbytes > INLINE_BYTES
    x = emitter.input("x", "float32", [1, 64])
    y = emitter.op("MatMul", x, emitter.const(weight, name="w"))
    model = emitter.finish([y])
    fragment = Fragment(list(model.graph), [y.name or ""])
    assert fragment.inputs == ("x",)
    feed = np.ones((1, 64), np.float32)
    np.testing.assert_array_equal(fragment.run({"x": feed})[y.name], np.full((1, 64), 64, np.float32))
    assert np.shares_memory(fragment._shared["w"], model.graph.initializers["w"].const_value.numpy())  # type: ignore[union-attr]


def test_memory_mapped_weights_at_odd_offsets(tmp_path) -> None:
    """An offset that is no multiple of the element's size cannot be used in place."""
    array = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    (tmp_path / "w.bin").write_bytes(b"\0" * 3 + array.tobytes())
    tensor = ir.ExternalTensor(
        "w.bin", 3, array.nbytes, ir.DataType.FLOAT, shape=ir.Shape([64, 64]), name="w", base_dir=tmp_path
    )
    emitter = Emitter("mapped")
    x = emitter.input("x", "float32", [1, 64])
    y = emitter.op("MatMul", x, emitter.tensor(tensor, "w"))
    model = emitter.finish([y])
    feed = np.ones((1, 64), np.float32)
    for tensors in (None, [y.name or "", "w"]):
        found = executor(model).run({"x": feed}, tensors)
        np.testing.assert_allclose(found[y.name or ""], feed @ array, rtol=1e-4, atol=1e-4)


def test_weights_inside_branches_and_outer_values(tmp_path) -> None:
    """A branch reads a value of the outer graph, and has a weight of its own in an external file."""
    array = np.arange(2048, dtype=np.float32)
    (tmp_path / "b.bin").write_bytes(array.tobytes())
    inner = ir.Value(name="bias")
    inner.const_value = ir.ExternalTensor(
        "b.bin", 0, array.nbytes, ir.DataType.FLOAT, shape=ir.Shape([2048]), name="bias", base_dir=tmp_path
    )
    inner.type, inner.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([2048])
    emitter = Emitter("branches")
    condition = emitter.input("condition", "bool", [])
    x = emitter.input("x", "float32", [2048])
    scale = emitter.const(np.full(2048, 3, np.float32), name="scale")

    def branch(name: str, operator: str, other: ir.Value, initializers: list[ir.Value]) -> ir.Graph:
        node = ir.Node("", operator, [x, other], outputs=[ir.Value(name=f"{name}_out")])
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        return ir.Graph([], node.outputs, nodes=[node], initializers=initializers, name=name)

    node = ir.Node(
        "",
        "If",
        [condition],
        [
            ir.AttrGraph("then_branch", branch("then", "Add", inner, [inner])),
            ir.AttrGraph("else_branch", branch("else", "Mul", scale, [])),
        ],
        outputs=[ir.Value(name="y")],
    )
    y = emitter.add(node)[0]
    y.type = ir.TensorType(ir.DataType.FLOAT)
    model = emitter.finish([y])
    feed = np.ones(2048, np.float32)
    for tensors in (None, ["y", "scale"]):
        runner = executor(model)
        np.testing.assert_array_equal(runner.run({"x": feed, "condition": np.asarray(True)}, tensors)["y"], array + 1)
        np.testing.assert_array_equal(runner.run({"x": feed, "condition": np.asarray(False)}, tensors)["y"], feed * 3)


def test_cut_tensors_are_fed_and_still_returned() -> None:
    model = small()
    fragment = Fragment(list(model.graph), ["hidden", "y"], cut=["hidden"])
    assert set(fragment.inputs) == {"x", "hidden"}
    found = fragment.run({"x": X, "hidden": np.full((1, 4), 7, np.float32)})
    np.testing.assert_allclose(found["hidden"], X @ np.arange(16, dtype=np.float32).reshape(4, 4), rtol=1e-6)
    np.testing.assert_array_equal(found["y"], np.full((1, 4), 7, np.float32))


def test_strings_pass_through() -> None:
    emitter = Emitter("strings")
    x = emitter.input("x", "string", [2])
    model = emitter.finish([emitter.rename(emitter.op("Identity", x), "y")])
    found = executor(model).run({"x": np.asarray(["a", "b"], object)})
    assert list(found["y"]) == ["a", "b"]


def test_a_failure_names_executor_model_and_cause() -> None:
    emitter = Emitter("broken")
    x = emitter.input("x", "float32", [None])
    shape = emitter.const([3, 5])
    model = emitter.finish([emitter.op("Reshape", x, shape)])
    with pytest.raises(ExecutionError, match=r"onnxruntime cannot run onnx model 'small': .*[Rr]eshape"):
        executor(model).run({"x": np.zeros(4, np.float32)})


def test_unknown_operator_is_refused_with_its_name() -> None:
    emitter = Emitter("custom")
    x = emitter.input("x", "float32", [1])
    model = emitter.finish([emitter.op("Mystery", x, domain="com.example")])
    with pytest.raises(ExecutionError, match="Mystery"):
        executor(model).run({"x": np.zeros(1, np.float32)})


def test_unknown_tensor() -> None:
    with pytest.raises(ExecutionError, match="no tensor 'nowhere'"):
        executor(small()).run({"x": X}, ["nowhere"])


INPUTS = (TensorSpec("image", "float32", (1, "n", 2)), TensorSpec("mask", "bool", None))
GOOD = {"image": np.zeros((1, 9, 2), np.float32), "mask": np.zeros(3, bool)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((1, 9, 2))}, r"'image' is float64, the input takes float32; use \.astype\('float32'\)"),
        ({"image": np.zeros((2, 9, 2), np.float32)}, r"the shape \[2, 9, 2\], the input takes float32\[1, n, 2\]"),
        ({"image": np.zeros((1, 2), np.float32)}, r"the shape \[1, 2\]"),
        ({"imgae": np.zeros(1)}, r"no input 'imgae', did you mean 'image'\?"),
        ({"zzz": np.zeros(1)}, r"no input 'zzz'; it takes 'image', 'mask'"),
        ({"mask": [True]}, r"'mask' is a list"),
    ],
)
def test_feeds_that_do_not_fit(change: dict[str, object], message: str) -> None:
    check_feeds(INPUTS, GOOD)
    with pytest.raises(ExecutionError, match=message):
        check_feeds(INPUTS, {**GOOD, **change})


def test_a_missing_feed_and_a_wrong_one_come_in_one_message() -> None:
    with pytest.raises(ExecutionError, match=r"float64.*the input mask: bool\[…\] has no feed"):
        check_feeds(INPUTS, {"image": np.zeros((1, 9, 2))})


def test_models_beyond_two_gigabytes_need_no_protobuf_of_that_size() -> None:
    """The session's graph refers to large constants; its own size does not grow with them."""
    emitter = Emitter("huge")
    x = emitter.input("x", "float32", [1])
    weight = np.broadcast_to(np.float32(1), (1 << 18,)).copy()
    y = emitter.op("Mul", x, emitter.const(weight))
    model = emitter.finish([y])
    sizes: list[int] = []
    import onnxruntime

    original = onnxruntime.InferenceSession

    def measuring(content: bytes, **options: object) -> object:
        sizes.append(len(content))
        assert onnx.load_from_string(content).graph.node
        return original(content, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnxruntime, "InferenceSession", measuring)
        for tensors in (None, [y.name or "", "x"]):
            executor(model).run({"x": np.ones(1, np.float32)}, tensors)
    assert len(sizes) == 2
    assert max(sizes) < 1000


def test_constant_nodes_are_constants_like_any_other() -> None:
    """Files that keep weights in Constant nodes cost no more than those with initializers."""
    emitter = Emitter("constants")
    x = emitter.input("x", "float32", [1, 64])
    weight = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    w = emitter.rename(emitter.op("Constant", value=weight), "w")
    five = emitter.op("Constant", value_float=5.0)
    y = emitter.rename(emitter.op("Mul", emitter.op("MatMul", x, w), five), "y")
    model = emitter.finish([y, w])
    fragment = Fragment(list(model.graph), ["y"])
    assert list(fragment._large) == ["w"]
    for tensors in (None, ["y", "w"]):
        found = executor(model).run({"x": np.ones((1, 64), np.float32)}, tensors)
        np.testing.assert_array_equal(found["w"], weight)
        np.testing.assert_allclose(found["y"], 5 * weight.sum(axis=0, keepdims=True), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(Fragment(list(model.graph)[:1], ["w"]).run({})["w"], weight)
