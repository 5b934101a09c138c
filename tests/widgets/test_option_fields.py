"""Controls made from the declarations of options: every option of every format, its help, its value and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import workbench as wb
from tests.widgets.fakes import FakeModel
from tests.widgets.test_workbench import converting, hidden, idle, make, settled, texts
from workbench import samples
from workbench.errors import OptionError
from workbench.formats import all_formats, format_named, make_options
from workbench.formats.base import Options
from workbench.formats.coreml.options import TARGETS
from workbench.widgets import Convert, Workbench
from workbench.widgets.option_fields import DEFAULT, MAX_KEYS, Choice, Group, Names, Typed, fields_of, help_of

NAMES = Names(("x", "cache"), ("y", "cache_out"), ("conv_0", "encoder/a", "encoder/b"))

CASES: list[tuple[str, Any]] = [
    ("constants", {"x": 16000}),
    ("constants", {"x": [[1.5, 2.0]], "cache": True}),
    ("precision", "fp16"),
    ("target", "iOS26"),
    ("compress", "int8"),
    ("names", {"x": "image", "y": "label"}),
    ("images", {"x": {"colours": "BGR", "scale": (0.5, 0.25, 0.125), "bias": -1.0}}),
    ("states", {"cache": "cache_out"}),
    ("labels", ["cat", "dog"]),
    ("labels", [3, 1, 2]),
    ("label_name", "kind"),
    ("probabilities", "y"),
    ("passes", "-fuse_conv_bias, -fuse_prelu"),
    ("metadata", {"author": "Ann", "licence of data": "a = b"}),
    ("keep_fp32", ["conv_0", "encoder/b"]),
]


def fields(target: str = "coreml", names: Names = NAMES) -> Any:
    return fields_of(format_named(target).options, names)


@pytest.mark.parametrize(("name", "value"), CASES)
def test_a_value_is_shown_and_read_back(name: str, value: Any) -> None:
    field = fields()[name]
    assert field.value() is DEFAULT
    field.control.set(value)
    assert field.value() == value
    extra = {"precision": "mixed"} if name == "keep_fp32" else {}
    make_options(format_named("coreml").options, {name: value, **extra})
    field.control.set(DEFAULT)
    assert field.value() is DEFAULT


def test_every_option_of_every_format_has_a_control_and_help() -> None:
    for known in all_formats().values():
        made = fields_of(known.options, NAMES, without=("shapes",))
        assert list(made) == [item.name for item in dataclasses.fields(known.options) if item.name != "shapes"]
        for name, field in made.items():
            assert help_of(known.options)[name] in field.widget.children[1].blocks[0]["text"]
            assert field.value() is DEFAULT
    assert [value for _, value in fields()["target"].control.widget.options] == list(TARGETS)
    assert "mixed" in [value for _, value in fields()["precision"].control.widget.options]
    assert fields()["precision"].control.widget.tooltip == help_of(format_named("coreml").options)["precision"]


def test_an_image_input_shows_what_it_is() -> None:
    field = fields()["images"]
    field.control.set({"x": wb.ImageInput(colours="GRAYSCALE", scale=0.5)})
    assert field.value() == {"x": {"colours": "GRAYSCALE", "scale": 0.5}}
    field.control.set({"x": {"scale": 0.5}})
    assert field.value() == {"x": {"colours": "RGB", "scale": 0.5}}


def test_an_array_shows_as_a_list() -> None:
    field = fields()["constants"]
    field.control.set({"x": np.arange(3)})
    assert field.value() == {"x": [0, 1, 2]}


def test_layers_are_named_by_patterns_in_their_order() -> None:
    field = fields()["keep_fp32"]
    field.control.widget.value = "encoder/*\nconv_0"
    assert field.value() == ["encoder/a", "encoder/b", "conv_0"]
    field.control.widget.value = "conv-0"
    with pytest.raises(OptionError, match=r"^keep_fp32: nothing is called 'conv-0'.*Did you mean 'conv_0'"):
        field.value()


@pytest.mark.parametrize(
    ("name", "typed", "message"),
    [("images", "much", "no number"), ("constants", "[1", "no JSON"), ("metadata", "Ann", "not of the form")],
)
def test_what_is_no_value_is_refused_by_name(name: str, typed: str, message: str) -> None:
    field = fields()[name]
    field.control.watched[-1].value = typed
    if name == "images":
        field.control.controls["cache"].controls["colours"].widget.value = "RGB"
    with pytest.raises(OptionError, match=f"^{name}: .*{message}"):
        field.value()


def test_many_inputs_are_typed_as_json() -> None:
    names = Names(tuple(f"x{at}" for at in range(MAX_KEYS + 1)), ("y",), ())
    field = fields(names=names)["states"]
    assert isinstance(field.control, Typed)
    field.control.set({"x0": "y"})
    assert field.value() == {"x0": "y"}


def test_a_format_that_declares_little_gets_plain_controls() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Other(Options):
        """Options.

        Attributes:
            depth: how deep,
                in layers.
        """

        depth: int = 3
        ways: Mapping[str, float] = dataclasses.field(default_factory=dict)
        strange: "Unheard" = None  # type: ignore[name-defined] # noqa: F821, UP037

    made = fields_of(Other, NAMES, without=("shapes",))
    assert isinstance(made["constants"].control, Group)
    assert not isinstance(made["depth"].control, Choice)
    assert "how deep, in layers." in texts(made["depth"].widget.children[1])
    for name, value in (("depth", 5), ("ways", {"a": 0.5}), ("strange", [1])):
        made[name].control.set(value)
        assert made[name].value() == value


# In the Convert step


def test_options_are_chosen_typed_and_reach_the_conversion() -> None:
    shown, convert = converting(FakeModel())
    convert.target.value = "coreml"
    idle(shown)
    assert hidden(convert._further)
    convert.more.value = True
    assert not hidden(convert._further)
    convert.options["target"].control.widget.value = "iOS18"
    convert.options["labels"].control.widget.value = "a\nb"
    images = convert.options["images"].control
    images.controls["x"].controls["scale"].widget.value = "0.5"
    images.controls["x"].controls["colours"].widget.value = "RGB"
    idle(shown)
    convert.button.click()
    settled(lambda: shown.session.converted is not None)
    wanted = {"target": "iOS18", "images": {"x": {"colours": "RGB", "scale": 0.5}}, "labels": ["a", "b"]}
    assert dict(shown.session.state.converted_with) == wanted


def test_a_wrong_option_is_told_at_its_control_which_is_brought_to_sight() -> None:
    shown, convert = converting(FakeModel())
    convert.target.value = "coreml"
    idle(shown)
    convert.options["precision"].control.widget.value = "mixed"
    assert convert.button.disabled
    assert not hidden(convert._further)
    assert "needs keep_fp32" in texts(convert.options["keep_fp32"].message)
    assert "needs keep_fp32" in texts(convert.verdict)
    convert.options["keep_fp32"].control.widget.value = "layer_*"
    idle(shown)
    assert not convert.button.disabled
    assert texts(convert.options["keep_fp32"].message) == ""
    assert shown.session.state.options["keep_fp32"] == [f"layer_{at}" for at in range(5)]


def test_an_option_that_the_model_does_not_take_is_told_at_its_control() -> None:
    shown = Workbench(samples.digits())
    convert = shown.steps["convert"]
    assert isinstance(convert, Convert)
    with pytest.raises(OptionError):
        shown.plan("coreml", shapes={"image": (1, 1, 8, 8)}, names={"no such": "image"})
    settled(lambda: convert.target.value is not None or not shown.session.busy)
    convert.target.value = "coreml"
    idle(shown)
    convert.options["states"].control.controls["image"].widget.value = "probabilities"
    idle(shown)
    assert shown.session.state.failure is not None
    assert "states" in texts(convert.options["states"].message)
    assert "states" in texts(convert.verdict)  # and no word that nothing stands against it
    assert convert.button.disabled


def test_marked_layers_of_the_plan_stay_in_float32() -> None:
    shown, convert = converting(FakeModel())
    convert.target.value = "coreml"
    idle(shown)
    assert hidden(convert.keep)
    convert.table.marked = [1, 3]
    assert not hidden(convert.keep)
    convert.keep.click()
    settled(lambda: "keep_fp32" in shown.session.state.options)
    assert dict(shown.session.state.options) == {"precision": "mixed", "keep_fp32": ["layer_1", "layer_3"]}
    convert.target.value = "nnef"
    idle(shown)
    assert not convert.table.markable


def test_controls_follow_a_conversion_that_was_not_planned() -> None:
    shown = make(FakeModel(dynamic=True))
    shown.open("x.onnx").convert("coreml", precision="fp16", names={"x": "image"}, shapes={"x": (2, 8)})
    convert = shown.steps["convert"]
    assert isinstance(convert, Convert)
    assert convert.chosen_options() == {"precision": "fp16", "names": {"x": "image"}, "shapes": {"x": (2, 8)}}
