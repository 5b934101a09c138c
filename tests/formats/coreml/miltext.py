"""The other way round: a package printed as coremlc prints it when it compiles, in both styles that it has had.

Nothing is shared with the reader but the protobuf. Style 1.0 (up to iOS 17 at first) writes scalars as tensors without
dimensions; style 1.3 has words of their own for them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workbench.formats.coreml import toolkit

SPEC = "Data/com.apple.CoreML/model.mlmodel"
_WEIGHTS = "Data/com.apple.CoreML/weights"
_WORDS = {
    1: "bool", 2: "string", 10: "fp16", 11: "fp32", 12: "fp64", 21: "int8", 22: "int16", 23: "int32", 24: "int64",
    25: "int4", 31: "uint8", 32: "uint16", 33: "uint32", 34: "uint64", 35: "uint4", 36: "uint2", 37: "uint1",
    38: "uint6", 39: "uint3",
}  # fmt: skip
_ARRAYS = {0x10010: "Float16", 0x10020: "Float32", 0x10040: "Double", 0x20020: "Int32", 0x20008: "Int8"}
_COLOURS = {10: "Grayscale", 20: "RGB", 30: "BGR", 40: "Grayscale16Half"}


def message_of(package: Path) -> Any:
    """The ``Model`` message of a package."""
    message = toolkit.model_pb2().Model()
    message.ParseFromString((package / SPEC).read_bytes())
    return message


def compiled(package: Path, folder: Path, style: str = "1.3", *, metadata: bool = True) -> Path:
    """Compile a package as far as it is compared here: text, weights and, if wanted, metadata."""
    message = message_of(package)
    folder.mkdir()
    (folder / "coremldata.bin").write_bytes(b"what Core ML itself reads")
    (folder / "model.mil").write_text(Printer(style).program(message), encoding="utf-8")
    if (package / _WEIGHTS).exists():
        shutil.copytree(package / _WEIGHTS, folder / "weights")
    if metadata:
        (folder / "metadata.json").write_text(json.dumps([metadata_of(message)], indent=2), encoding="utf-8")
    return folder


class Printer:
    """Prints one program in one of the two styles."""

    def __init__(self, style: str) -> None:
        self._style = style

    def program(self, message: Any) -> str:
        key = self._word("string")
        head = f'program({self._style})\n[buildInfo = dict<{key}, {key}>({{{{"coremlc-version", "3520.5.1"}}}})]\n{{\n'
        described = {entry.name: entry for entry in message.description.functions}
        functions = message.mlProgram.functions
        texts = [
            self._function(name, functions[name], described.get(name, message.description))
            for name in sorted(functions)
        ]
        return f"{head}{''.join(texts)}}}"

    def _function(self, name: str, function: Any, description: Any) -> str:
        inputs = ", ".join(f"{self.type(item.type)} {item.name}" for item in sorted(function.inputs, key=_name))
        opset = f"ios{int(function.opset.removeprefix('CoreML')) + 10}"
        block = function.block_specializations[function.opset]
        head = f"    func {name}<{opset}>({inputs}){self._flexible(description)} {{\n"
        return f"{head}{self._operations(block)}        }} -> ({', '.join(block.outputs)});\n"

    def _operations(self, block: Any) -> str:
        return "".join(f"            {self._operation(operation)}\n" for operation in block.operations)

    def _operation(self, operation: Any) -> str:
        left = ", ".join(f"{self.type(item.type)} {item.name}" for item in operation.outputs)
        arguments = ", ".join(f"{key} = {self._bindings(operation.inputs[key])}" for key in sorted(operation.inputs))
        attributes = ", ".join(
            f"{key} = {self.value(operation.attributes[key])}" for key in sorted(operation.attributes)
        )
        made = f"{left} = " if left else ""
        blocks = "".join(f" {self._block(block)}" for block in operation.blocks)
        return f"{made}{operation.type}({arguments}){f'[{attributes}]' if attributes else ''}{blocks};"

    def _block(self, block: Any) -> str:
        inputs = ", ".join(f"{self.type(item.type)} {item.name}" for item in block.inputs)
        return f"({inputs}) {{\n{self._operations(block)}        }} -> ({', '.join(block.outputs)})"

    def _bindings(self, argument: Any) -> str:
        found = [
            binding.name if binding.WhichOneof("binding") == "name" else self.value(binding.value)
            for binding in argument.arguments
        ]
        return found[0] if len(found) == 1 else f"({', '.join(found)})"

    # types and values

    def _word(self, dtype: str) -> str:
        return dtype if self._style == "1.3" else f"tensor<{dtype}, []>"

    def type(self, message: Any) -> str:
        kind = message.WhichOneof("type")
        if kind == "stateType":
            return f"state<{self.type(message.stateType.wrappedType)}>"
        if kind == "listType":
            return f"list<{self.type(message.listType.type)}, {_size(message.listType.length)}>"
        if kind == "dictionaryType":
            return f"dict<{self.type(message.dictionaryType.keyType)}, {self.type(message.dictionaryType.valueType)}>"
        dtype = _WORDS[message.tensorType.dataType]
        if not message.tensorType.rank:
            return self._word(dtype)
        return f"tensor<{dtype}, [{', '.join(map(_size, message.tensorType.dimensions))}]>"

    def value(self, message: Any) -> str:
        if message.WhichOneof("value") == "blobFileValue":
            path = f"{self._word('string')}({_quoted(message.blobFileValue.fileName)})"
            offset = f"{self._word('uint64')}({message.blobFileValue.offset})"
            return f"{self.type(message.type)}(BLOBFILE(path = {path}, offset = {offset}))"
        return f"{self.type(message.type)}({self._literal(message)})"

    def _literal(self, message: Any) -> str:
        kind = message.type.WhichOneof("type")
        if kind == "listType":
            return f"[{', '.join(map(self._literal, message.immediateValue.list.values))}]"
        if kind == "dictionaryType":
            pairs = message.immediateValue.dictionary.values
            return _dictionary((self._literal(pair.key), self._literal(pair.value)) for pair in pairs)
        tensor = message.type.tensorType
        items = iter(_elements(message.immediateValue.tensor, _WORDS[tensor.dataType]))
        return _nested([int(dim.constant.size) for dim in tensor.dimensions], items)

    # allowed shapes

    def _flexible(self, description: Any) -> str:
        arrays = {f.name: f.type.multiArrayType for f in description.input if f.type.HasField("multiArrayType")}
        ranged = {name: _ranges(array) for name, array in arrays.items() if _ranges(array)}
        listed = {name: _shapes(array) for name, array in arrays.items() if _shapes(array)}
        if not ranged and not listed:
            return ""
        key, shape = self._word("string"), f"dict<{self._word('string')}, tensor<int32, [?]>>"
        defaults = _entries({name: list(arrays[name].shape) for name in ranged or listed})
        if ranged:
            second, name, text = f"dict<{key}, list<tensor<int32, [2]>, ?>>", "RangeDims", _entries(ranged)
        else:
            second, name = f"dict<{key}, {shape}>", "EnumeratedShapes"
            choices = [dict(zip(listed, choice, strict=True)) for choice in zip(*listed.values(), strict=True)]
            text = _entries({f"{index:08x}": _entries(choice) for index, choice in enumerate(choices)})
        types = f"tuple<tuple<{key}, {shape}>, tuple<{key}, {second}>>"
        return f' [FlexibleShapeInformation = {types}((("DefaultShapes", {defaults}), ("{name}", {text})))]'


def _name(item: Any) -> str:
    return str(item.name)


def _entries(items: Mapping[str, Any]) -> str:
    return _dictionary((_quoted(name), str(item)) for name, item in items.items())


def _dictionary(pairs: Iterable[tuple[str, str]]) -> str:
    return "{" + ", ".join(f"{{{key}, {value}}}" for key, value in pairs) + "}"


def _size(dim: Any) -> str:
    return str(dim.constant.size) if dim.HasField("constant") else "?"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _hexadecimal(number: float) -> str:
    """``0x1.8p+1``; Python writes all the digits of a double."""
    if not np.isfinite(number):
        return str(number)
    head, _, exponent = float(number).hex().partition("p")
    whole, _, fraction = head.partition(".")
    return f"{whole}{'.' + fraction.rstrip('0') if fraction.rstrip('0') else ''}p{exponent}"


def _elements(tensor: Any, dtype: str) -> Iterable[str]:
    field = tensor.WhichOneof("value")
    values = getattr(tensor, field).values
    if field == "bytes":
        values = _unpacked(values, dtype)
    if dtype == "string":
        return map(_quoted, values)
    if dtype == "bool":
        return ("true" if value else "false" for value in values)
    return map(_hexadecimal if dtype.startswith("fp") else str, values)


def _unpacked(data: bytes, dtype: str) -> list[Any]:
    known = {"fp16": "float16"}.get(dtype, dtype)
    bits = int(dtype.lstrip("uintfp"))
    if bits >= 8:
        return np.frombuffer(data, known).tolist()
    flags = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    numbers = [
        int("".join(map(str, flags[start : start + bits][::-1])), 2) for start in range(0, len(flags) - bits + 1, bits)
    ]
    return [number - (1 << bits) if dtype == "int4" and number >> bits - 1 else number for number in numbers]


def _nested(dims: list[int], items: Iterator[str]) -> str:
    if not dims:
        return next(items)
    return f"[{', '.join(_nested(dims[1:], items) for _ in range(dims[0]))}]"


# -- metadata.json -----------------------------------------------------------------------------------------------------


def metadata_of(message: Any) -> dict[str, Any]:
    """The record that coremlc writes of a ``Model`` message, in the part that says something of the interface."""
    description = message.description
    record: dict[str, Any] = {
        "metadataOutputVersion": "3.0",
        "specificationVersion": message.specificationVersion,
        "modelType": {"name": "MLModelType_mlProgram"},
        "userDefinedMetadata": dict(description.metadata.userDefined),
        "shortDescription": description.metadata.shortDescription,
        "author": description.metadata.author,
        "license": description.metadata.license,
        "version": description.metadata.versionString,
        **_schemas(description),
    }
    if description.functions:
        record["functions"] = [{"name": entry.name, **_schemas(entry)} for entry in description.functions]
        record["defaultFunctionName"] = description.defaultFunctionName
    return record


def _schemas(description: Any) -> dict[str, Any]:
    return {
        "inputSchema": [_feature(feature) for feature in description.input],
        "outputSchema": [_feature(feature) for feature in description.output],
        "stateSchema": [_feature(feature) for feature in description.state],
    }


def _feature(feature: Any) -> dict[str, Any]:
    kind = feature.type.WhichOneof("Type")
    entry = {
        "name": feature.name,
        "shortDescription": feature.shortDescription,
        "isOptional": "1" if feature.type.isOptional else "0",
    }
    if kind == "multiArrayType":
        return {**entry, "type": "MultiArray", **_array(feature.type.multiArrayType)}
    if kind == "stateType":
        return {**entry, "type": "State", **_array(feature.type.stateType.arrayType)}
    if kind == "imageType":
        return {**entry, "type": "Image", **_image(feature.type.imageType)}
    if kind == "dictionaryType":
        key = "String" if feature.type.dictionaryType.HasField("stringKeyType") else "Int64"
        return {**entry, "type": "Dictionary", "keyType": key}
    return {**entry, "type": {"stringType": "String", "int64Type": "Int64", "doubleType": "Double"}[kind]}


def _array(array: Any) -> dict[str, str]:
    entry = {"dataType": _ARRAYS[array.dataType], "shape": str(list(array.shape)), "hasShapeFlexibility": "0"}
    if _ranges(array):
        entry.update(hasShapeFlexibility="1", shapeRange=str(_ranges(array)))
    if _shapes(array):
        entry.update(hasShapeFlexibility="1", enumeratedShapes=str(_shapes(array)))
    return entry


def _ranges(array: Any) -> list[list[int]]:
    return [[size.lowerBound, size.upperBound] for size in array.shapeRange.sizeRanges]


def _shapes(array: Any) -> list[list[int]]:
    return [list(shape.shape) for shape in array.enumeratedShapes.shapes]


def _image(image: Any) -> dict[str, str]:
    entry = {"width": str(image.width), "height": str(image.height), "colorspace": _COLOURS[image.colorSpace]}
    if image.HasField("imageSizeRange"):
        spatial = (image.imageSizeRange.widthRange, image.imageSizeRange.heightRange)
        entry["sizeRange"] = str([[size.lowerBound, size.upperBound] for size in spatial])
    if image.HasField("enumeratedSizes"):
        entry["enumeratedSizes"] = str([[size.width, size.height] for size in image.enumeratedSizes.sizes])
    return entry
