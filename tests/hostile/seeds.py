"""Sound models to begin with: small ones that between them use much of what each reader knows."""

# ruff: noqa: E501  (models in the notations of their formats)

from __future__ import annotations

import functools
import io
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper, parser

from tests.formats.coreml import networks, reading
from tests.formats.coreml.miltext import compiled
from tests.formats.coreml.test_read_mutated_kinds import originals
from tests.hostile.bundle import Bundle, bundle_of
from workbench.formats.nnef.archive import pack
from workbench.formats.nnef.tensors import write_tensor

READERS = ("onnx", "nodes", "nnef", "mlpackage", "mlmodel", "mlmodelc", "archive", "recording", "session", "upload")

RNG = np.random.default_rng(5)


def _floats(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.normal(size=shape).astype(np.float32)


_ONNX = {
    "conv": """<ir_version: 10, opset_import: ["" : 17]> g (float[1, 3, 8, 8] x) => (float[1, 4] y)
        <float[4, 3, 3, 3] w, float[4] b> {
        c = Conv <pads = [1, 1, 1, 1], strides = [2, 2], kernel_shape = [3, 3]> (x, w, b)
        n = BatchNormalization <epsilon = 0.001> (c, b, b, b, b)
        r = LeakyRelu <alpha = 0.1> (n)
        p = MaxPool <kernel_shape = [2, 2], auto_pad = "SAME_UPPER"> (r)
        a = GlobalAveragePool(p)  y = Flatten <axis = 1> (a) }""",
    "shapes": """<ir_version: 10, opset_import: ["" : 17]> g (float[N, 4, 6] x) => (float[N, 6, 4] y, int64[3] s)
        <int64[3] order = {0, 6, 4}, int64[1] one = {1}, int64[1] two = {2}, int64[6] pads = {0, 0, 1, 0, 0, 0},
         int64[3] reps = {1, 1, 2}> {
        s = Shape(x)  t = Transpose <perm = [0, 2, 1]> (x)  r = Reshape(t, order)
        u = Unsqueeze(r, one)  q = Squeeze(u, one)  e = Expand(q, s2)  s2 = Constant <value_ints = [1, 6, 4]> () }""",
    "indices": """<ir_version: 8, opset_import: ["" : 13]> g (float[2, 8] x, int64[3] i) => (float[2, 6] y, int64[2, 2] k)
        <int64[1] start = {1}, int64[1] stop = {7}, int64[1] axis = {1}, int64[4] pads = {0, 1, 0, 2}, int64[1] two = {2}> {
        c = Slice(x, start, stop, axis)  p = Pad <mode = "constant"> (c, pads)  v, k = TopK <axis = 1> (p, two)
        g = Gather <axis = 1> (x, i)  a, b = Split <axis = 1> (c)  y = Concat <axis = 1> (a, b) }""",
    "recurrent": """<ir_version: 9, opset_import: ["" : 14]> g (float[5, 1, 3] x) => (float[5, 1, 1, 4] y)
        <float[1, 16, 3] w, float[1, 16, 4] r> {
        y, h, c = LSTM <hidden_size = 4, direction = "forward"> (x, w, r) }""",
    "control": """<ir_version: 10, opset_import: ["" : 17]> g (float[3] x, bool c) => (float[3] y, float[3] z)
        <int64 n = {4}, bool t = {1}> {
        y = If (c) <then_branch = a () => (float[3] p) { p = Neg(x) }, else_branch = b () => (float[3] q) { q = Exp(x) }>
        z = Loop (n, t, x) <body = l (int64 i, bool k, float[3] v) => (bool o, float[3] w)
            { o = Identity(k)  w = Mul(v, v) }> }""",
    "functions": """<ir_version: 10, opset_import: ["" : 17, "own" : 1]> g (float[3] x) => (float[3] y)
        { h = own.twice <f = 2.0> (x)  y = own.twice <f = 3.0> (h) }
        <domain: "own", opset_import: ["" : 17]> twice <f> (a) => (b)
        { k = Constant <value_float: float = @f> ()  m = Mul(a, k)  b = Add(m, a) }""",
    "quantized": """<ir_version: 10, opset_import: ["" : 19]> g (float[1, 4] x) => (float[1, 2] y)
        <float s = {0.1}, int8 z = {0}, int8[4, 2] w = {1, -2, 3, 4, 5, -6, 7, 8}> {
        q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  v = DequantizeLinear(w, s, z)  m = MatMul(d, v)
        y = Softmax <axis = -1> (m) }""",
    "resize": """<ir_version: 10, opset_import: ["" : 18]> g (float[1, 2, 4, 4] x) => (float[1, 2, 8, 6] y)
        <float[4] scales = {1.0, 1.0, 2.0, 1.5}> {
        y = Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (x, , scales) }""",
    "einsum": """<ir_version: 10, opset_import: ["" : 17]> g (float[2, 3, 4] x, float[2, 4, 5] w) => (float[2, 3, 5] y) {
        e = Einsum <equation = "bij,bjk->bik"> (x, w)  c = CumSum(e, k)  k = Constant <value_int = 1> () }""",
    "sequences": """<ir_version: 10, opset_import: ["" : 17]> g (float[4, 2] x) => (float[4, 2] y) {
        s = SplitToSequence <axis = 0> (x)  y = ConcatFromSequence <axis = 0> (s) }""",
    "ranges": """<ir_version: 10, opset_import: ["" : 17]> g (float[N] x, int64 n, int64[2] shape) => (float[N, M] y)
        <int64 zero = {0}, int64 one = {1}, int64[1] last = {1}, float fill = {1.5}> {
        r = Range(zero, n, one)  f = Cast <to = 1> (r)  o = ConstantOfShape <value = float[1] {2.0}> (shape)
        t = Tile(x, last)  u = Unsqueeze(t, last)  a = Add(u, o)  y = Mul(a, f) }""",
}
"""Statements that stand in the wrong order are put right by :func:`_sorted`."""


def onnx_models() -> Iterator[onnx.ModelProto]:
    """ONNX models, weights inside."""
    for text in _ONNX.values():
        model = parser.parse_model(text)
        _fill(model)
        _sort(model.graph)
        yield model


def _fill(model: onnx.ModelProto) -> None:
    """Give the tensors that are declared beside the graph's own, without data, some."""
    for value in model.graph.value_info:
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        model.graph.initializer.append(numpy_helper.from_array(np.abs(_floats(*dims)), value.name))
    del model.graph.value_info[:]


def _sort(graph: onnx.GraphProto) -> None:
    """Put the nodes into an order in which everything is made before it is read."""
    made = {value.name for value in graph.input} | {value.name for value in graph.initializer} | {""}
    left, nodes = list(graph.node), []
    while left:
        ready = next((node for node in left if made.issuperset(node.input)), left[0])
        left.remove(ready)
        nodes.append(ready)
        made.update(ready.output)
    missing = [value.name for value in graph.output if value.name not in made]
    for name in missing:  # a seed's last tensor stands for the output that nobody makes
        nodes[-1].output[0] = name
    del graph.node[:]
    graph.node.extend(nodes)


def onnx_seeds() -> Iterator[Bundle]:
    """ONNX files; the last has its weights beside it."""
    for model in onnx_models():
        yield Bundle("onnx", "model.onnx", {"model.onnx": model.SerializeToString()})
    weights = _floats(64)
    text = '<ir_version: 10, opset_import: ["" : 17]> g (float[64] x) => (float[64] y) { y = Add(x, w) }'
    model = parser.parse_model(text)
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[64], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", "w.bin"), ("offset", "0"), ("length", "256")):
        tensor.external_data.add(key=key, value=value)
    model.graph.initializer.append(tensor)
    yield Bundle("onnx", "model.onnx", {"model.onnx": model.SerializeToString(), "w.bin": weights.tobytes()})


def node_seeds() -> Iterator[Bundle]:
    """ONNX's backend node tests, their constants inside: every operator, and so every kernel that runs one."""
    from tests.conformance.node_cases import collect

    for case in collect():
        whole = case.baked() or case
        if len(whole.model) < 20_000:
            yield Bundle("nodes", "model.onnx", {"model.onnx": whole.model})


NNEF_TEXTS = {
    "conv": """version 1.0;
graph net(x) -> (y, z)
{
    x = external<scalar>(shape = [1, 3, 4, 4]);
    w = variable<scalar>(shape = [2, 3, 1, 1], label = 'block/w');
    c = conv(x, w, 0.5, padding = [(0, 0), (1, 1)], border = 'constant', stride = [1, 2]);
    n = batch_normalization(c, 0.0, 1.0, 0.5, 2.0, epsilon = 0.001);
    y = max(relu(n), 0.0) + -c ^ 2.0;
    z = argmax_reduce(y, axes = [1]);
}
""",
    "fragments": """version 1.0;
extension KHR_enable_fragment_definitions, KHR_enable_operator_expressions;
fragment twice<? = scalar>(x: tensor<?>, n: integer = 2) -> (y: tensor<?>)
{
    y = concat([for i in range_of([n, n]) yield x], axis = 1);
}
fragment many(x: tensor<scalar>, sizes: integer[], name: string = 'a') -> (y: tensor<scalar>)
{
    parts = split(x, axis = 1, ratios = sizes);
    y = add_n([for p in parts yield relu(p) if length_of(sizes) > 1 else -p]);
}
graph net(x) -> (y)
{
    x = external<scalar>(shape = [2, 4]);
    t = twice(x, n = 1 + 1);
    y = many(t, sizes = [4, 4] if 2 > 1 else [2, 6]) * 0.5;
}
""",
    "plain": """version 1.0;
graph net(x, i) -> (y, m)
{
    x = external<scalar>(shape = [2, 3, 4]);
    i = external<integer>(shape = [2]);
    w = variable<scalar>(shape = [1, 4, 5], label = 'w');
    k = constant<scalar>(shape = [1, 1, 4], value = [1.0, 2.0, -3.5, 0.0]);
    t = transpose(x, axes = [0, 2, 1]);
    r = reshape(t, shape = [2, -1]);
    s = slice(x, axes = [1, 2], begin = [0, 1], end = [2, 3], stride = [1, 2]);
    p = pad(x, padding = [(0, 0), (1, 0), (0, 2)], border = 'constant', value = 1.0);
    g = gather(x, i, axis = 0);
    q = tile(k, repeats = [1, 3, 1]);
    e = matmul(x, w);
    m = softmax(sum_reduce(e, axes = [1], normalize = true), axes = [2]);
    y = select(gt(x, 0.0), x, mul(q, sigmoid(x)));
}
""",
}


def _nnef_folders(root: Path) -> Iterator[Path]:
    for name, text in NNEF_TEXTS.items():
        folder = root / name
        (folder / "block").mkdir(parents=True)
        (folder / "graph.nnef").write_text(text)
        if name == "conv":
            write_tensor(folder / "block" / "w.dat", _floats(2, 3, 1, 1))
            (folder / "graph.quant").write_text(
                '"y": zero_point_linear_quantize(zero_point = 3, scale = 0.5, bits = 8, signed = true, '
                "symmetric = false);\n"
            )
        if name == "plain":
            write_tensor(folder / "w.dat", _floats(1, 4, 5))
        yield folder


def nnef_seeds() -> Iterator[Bundle]:
    """NNEF folders."""
    with tempfile.TemporaryDirectory() as root:
        for folder in _nnef_folders(Path(root)):
            yield bundle_of("nnef", folder)


def _programs() -> list[reading.Case]:
    weight, kernel = _floats(8, 12), _floats(4, 3, 3, 3)
    image, rows = _floats(1, 3, 8, 8), _floats(2, 12)
    indices = np.asarray([1, 0], np.int32)
    lut = np.asarray([-1.5, 0.25, 0.5, 3], np.float32)

    def palette(mb: Any, x: Any) -> Any:
        dense = mb.constexpr_lut_to_dense(lut=lut, indices=np.uint8([228] * 24), shape=np.uint32([8, 12]))
        return mb.linear(x=x, weight=dense)

    def looped(mb: Any, x: Any) -> Any:
        def smaller(i: Any, v: Any) -> Any:
            return mb.less(x=i, y=np.float32(3))

        def step(i: Any, v: Any) -> Any:
            return mb.add(x=i, y=np.float32(1)), mb.mul(x=v, y=v)

        return mb.while_loop(_cond=smaller, _body=step, loop_vars=(np.float32(0), x))[1]

    return [
        reading.Case("linear", lambda mb, x: mb.softmax(x=mb.linear(x=x, weight=weight), axis=-1), {"x": rows}),
        reading.Case(
            "conv", lambda mb, x: mb.max_pool(
                x=mb.relu(x=mb.conv(x=x, weight=kernel, pad_type="same", strides=[2, 1])), kernel_sizes=[2, 2],
                strides=[1, 1], pad_type="valid",
            ), {"x": image},
        ),
        reading.Case(
            "shapes", lambda mb, x, i: mb.concat(
                values=[mb.gather(x=mb.reshape(x=x, shape=[4, 6]), indices=i, axis=0), mb.slice_by_index(
                    x=mb.transpose(x=mb.reshape(x=x, shape=[6, 4]), perm=[1, 0]), begin=[0, 0], end=[2, 6])], axis=0,
            ), {"x": rows, "i": indices},
        ),
        reading.Case("palette", palette, {"x": rows}, release=16),
        reading.Case("looped", looped, {"x": rows}),
        reading.Case("dynamic", lambda mb, x: mb.reshape(x=mb.exp(x=x), shape=[2, -1]), {"x": _floats(2, 3, 4)}, dynamic=True),
    ]  # fmt: skip


def _packages(root: Path) -> Iterator[Path]:
    for case in _programs():
        folder = root / case.name
        folder.mkdir()
        yield reading.package(case, folder)


def mlpackage_seeds() -> Iterator[Bundle]:
    """Packages of ML programs."""
    with tempfile.TemporaryDirectory() as root:
        for package in _packages(Path(root)):
            yield bundle_of("mlpackage", package)


def mlmodelc_seeds() -> Iterator[Bundle]:
    """The same, compiled, with metadata and without."""
    with tempfile.TemporaryDirectory() as root:
        for index, package in enumerate(_packages(Path(root))):
            style = "1.3" if index % 2 else "1.0"
            folder = compiled(package, package.parent / "model.mlmodelc", style, metadata=index % 3 != 0)
            yield bundle_of("mlmodelc", folder)


def _network(nn: Any) -> None:
    weights = _floats(3, 3, 3, 4)
    nn.add_convolution("conv", 3, 4, 3, 3, 2, 2, "same", 1, weights, _floats(4), True, input_name="x", output_name="c")
    nn.add_activation("act", "LEAKYRELU", "c", "a", [0.1])
    nn.add_pooling("pool", 2, 2, 2, 2, "MAX", "VALID", "a", "p")
    nn.add_flatten("flat", 0, "p", "f")
    nn.add_inner_product("dense", _floats(2, 16), _floats(2), 16, 2, True, "f", "d")
    nn.add_softmax("soft", "d", "y")


def mlmodel_seeds() -> Iterator[Bundle]:
    """Neural networks of the older form, classical models, pipelines."""
    messages = [networks.network_of(_network, {"x": _floats(1, 3, 8, 8)}), *originals()]
    for message in messages:
        yield Bundle("mlmodel", "model.mlmodel", {"model.mlmodel": message.SerializeToString(deterministic=True)})


def archive_seeds() -> Iterator[Bundle]:
    """Archives of NNEF folders and of packages."""
    from workbench.formats.coreml.package import write_package

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for folder in _nnef_folders(root):
            for suffix in (".tgz", ".tar", ".zip"):
                pack(folder, root / f"model{suffix}")
                yield bundle_of("archive", root / f"model{suffix}")
                (root / f"model{suffix}").unlink()
        linear = _programs()[0]
        (root / "package").mkdir()
        package = reading.package(linear, root / "package")
        data = package / "Data" / "com.apple.CoreML"
        weights = data / "weights" / "weight.bin"
        target = root / "model.mlpackage.zip"
        write_package(target, (data / "model.mlmodel").read_bytes(), weights if weights.exists() else None)
        yield bundle_of("archive", target)


def recording_seeds() -> Iterator[Bundle]:
    """Recordings of models."""
    import workbench as wb

    with tempfile.TemporaryDirectory() as root:
        for index, model in enumerate(list(onnx_models())[:1] + list(onnx_models())[4:6]):
            path = Path(root) / f"recording{index}.zip"
            wb.record(wb.load(model), path)
            yield bundle_of("recording", path)


def session_seeds() -> Iterator[Bundle]:
    """Saved sessions, their models beside them."""
    from workbench.session import Session

    weights = np.random.default_rng(6).normal(size=(1, 3, 8, 8)).astype(np.float32)
    steps: tuple[tuple[str, dict[str, Any], dict[str, Any] | None], ...] = (
        ("nnef", {}, {"feeds": {"x": weights}, "mode": "isolated"}),
        ("coreml", {"precision": "fp16", "metadata": {"author": "a"}}, {}),
        ("onnx", {"shapes": {"x": (1, 3, 8, 8)}}, None),
    )
    model = next(onnx_models())
    for target, options, comparison in steps:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            (root / "model.onnx").write_bytes(model.SerializeToString())
            session = Session(root / "model.onnx")
            session.plan(target, **options)
            session.convert(target, **options)
            if comparison is not None:
                session.compare(**comparison)
            session.save(root / "kept.workbench")
            files = {file.name: file.read_bytes() for file in root.iterdir()}
            yield Bundle("session", "kept.workbench", files)


def upload_seeds() -> Iterator[Bundle]:
    """What a browser sends: files, and folders in a zip."""
    for bundle in (*list(onnx_seeds())[:3], *list(mlmodel_seeds())[:3], *archive_seeds()):
        yield Bundle("upload", bundle.entry, bundle.files)
    for bundle in (*nnef_seeds(), *list(mlpackage_seeds())[:2], *list(mlmodelc_seeds())[:2]):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in bundle.files.items():
                archive.writestr(zipfile.ZipInfo(name), data)
        yield Bundle("upload", "model.zip", {"model.zip": stream.getvalue()})


_MAKERS = {
    "onnx": onnx_seeds, "nodes": node_seeds, "nnef": nnef_seeds, "mlpackage": mlpackage_seeds, "mlmodel": mlmodel_seeds,
    "mlmodelc": mlmodelc_seeds, "archive": archive_seeds, "recording": recording_seeds,
    "session": session_seeds, "upload": upload_seeds,
}  # fmt: skip


def seeds(reader: str) -> list[Bundle]:
    """The sound models of a reader."""
    return list(_MAKERS[reader]())


@functools.cache
def sound(reader: str, index: int = 0) -> Bundle:
    """One of them."""
    return seeds(reader)[index]
