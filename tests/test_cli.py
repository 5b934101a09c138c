"""The command line: what it prints, what it writes, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import workbench as wb
from tests.real_models import onnx_model
from workbench.cli import main

DIGITS = str(wb.samples.digits())
SHAPE = ["--shape", "image=1,1,8,8"]


@pytest.mark.parametrize("name", ["digits.mlpackage", "digits.nnef", "digits.nnef.tgz", "digits.onnx"])
def test_convert_writes_and_verifies(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    destination = tmp_path / name
    assert main(["convert", DIGITS, str(destination), *SHAPE]) == 0
    assert f"written: {destination}" in capsys.readouterr().out
    images, digits = wb.samples.digit_images()
    found = next(iter(wb.load(destination).run({"image": images[:1]}).values()))
    assert found.argmax() == digits[0]


def test_an_existing_destination_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    destination = tmp_path / "digits.mlpackage"
    destination.mkdir()
    (destination / "notes.txt").write_text("mine")
    assert main(["convert", DIGITS, str(destination), *SHAPE]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (destination / "notes.txt").read_text() == "mine"


def test_a_refused_model_exits_with_3_and_names_every_layer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = onnx_model("silero-vad").path.with_name("silero_vad.onnx")
    shapes = ["--shape", "input=1,576", "--shape", "state=2,1,128"]
    destination = tmp_path / "silero.mlpackage"
    assert main(["convert", str(path), str(destination), *shapes]) == 3
    message = capsys.readouterr().err
    assert message.startswith("refused:")
    plan = wb.load(path).plan("coreml", shapes={"input": (1, 576), "state": (2, 1, 128)})
    assert all(repr(refusal.layer) in message for refusal in plan.refusals)
    assert list(tmp_path.iterdir()) == []
    assert main(["plan", str(path), "--to", "coreml", *shapes]) == 3
    assert "refused" in capsys.readouterr().out


def test_an_open_shape_is_refused_with_the_option_of_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", DIGITS, str(tmp_path / "digits.nnef")]) == 3
    message = capsys.readouterr().err
    assert "float32[batch, 1, 8, 8] is not fixed" in message
    assert "--shape NAME=" in message


@pytest.mark.parametrize(("shape", "described"), [("1..4:2,1,8,8", ((1, 4), ())), ("1,1,8,8|3,1,8,8", (None, (1, 3)))])
def test_several_shapes_are_written(shape: str, described: tuple[object, object], tmp_path: Path) -> None:
    destination = tmp_path / "digits.mlpackage"
    assert main(["convert", DIGITS, str(destination), "--shape", f"image={shape}"]) == 0
    (feature,) = wb.load(destination).document.interface.inputs  # type: ignore[attr-defined]
    assert (next(iter(feature.sizes), None), tuple(sizes[0] for sizes in feature.shapes)) == described
    images, _ = wb.samples.digit_images()
    assert next(iter(wb.load(destination).run({"image": images[:3]}).values())).shape[0] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert", "absent.onnx", "x.mlpackage"], "no such file"),
        (["convert", DIGITS, "x.unknown"], "suffix belongs to no format"),
        (["convert", DIGITS, "x.mlpackage", "--to", "tflite"], "unknown format"),
        (["convert", DIGITS, "x.mlpackage", "--shape", "image"], "--shape takes"),
        (["convert", DIGITS, "x.mlpackage", "--shape", "image=1,a"], "--shape takes"),
        (["convert", DIGITS, "x.mlpackage", "--shape", "image=4..1,1,8,8"], "a range begins at 1 or above"),
        (["convert", DIGITS, "x.mlpackage", "--shape", "image=1..,1,8,8"], "Range(1, 8) is 1..8"),
        (["convert", DIGITS, "x.nnef", "--shape", "image=1..4,1,8,8"], "one shape for each input"),
        (["convert", DIGITS, "x.mlpackage", "--shape", "picture=1,1,8,8"], "no input 'picture'"),
        (["convert", DIGITS, "x.mlpackage", *SHAPE, "--precision", "fp64"], "fp64"),
        (["convert", DIGITS, "x.onnx", "--precision", "fp16"], "unknown option 'precision'"),
        (["convert", DIGITS, "x.onnx", "--option", "nonsense"], "--option takes"),
        (["run", DIGITS, "--feeds", "absent.npz"], "absent.npz"),
    ],
)
def test_bad_usage_is_one_message_and_exit_code_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_compare_tells_a_changed_model_from_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnx
    from onnx import numpy_helper

    proto = onnx.load(DIGITS)
    weights = next(tensor for tensor in proto.graph.initializer if tensor.name == "dense1.weight")
    array = numpy_helper.to_array(weights) * np.float32(1.1)
    weights.CopyFrom(numpy_helper.from_array(array, weights.name))
    changed = tmp_path / "changed.onnx"
    onnx.save(proto, changed)
    feeds = tmp_path / "feeds.npz"
    np.savez(feeds, image=wb.samples.digit_images()[0])
    assert main(["compare", DIGITS, DIGITS, "--feeds", str(feeds)]) == 0
    page, data = tmp_path / "report.html", tmp_path / "report.json"
    assert main(["compare", DIGITS, str(changed), "--feeds", str(feeds), "--html", str(page), "--json", str(data)]) == 1
    assert "dense1" in capsys.readouterr().out
    assert "dense1" in page.read_text(encoding="utf-8")
    assert json.loads(data.read_text(encoding="utf-8"))


def test_inspect_plan_run_and_coverage_print(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", DIGITS]) == 0
    assert "BatchNormalization-15" in capsys.readouterr().out
    assert main(["plan", DIGITS, "--to", "nnef", *SHAPE]) == 0
    assert "12 layers: 12 exact" in capsys.readouterr().out
    feeds, results = tmp_path / "feeds.npz", tmp_path / "results.npz"
    images, digits = wb.samples.digit_images()
    np.savez(feeds, image=images)
    assert main(["run", DIGITS, "--feeds", str(feeds), "--out", str(results)]) == 0
    assert "run by onnxruntime" in capsys.readouterr().out
    with np.load(results) as found:
        assert (found["probabilities"].argmax(1) == digits).mean() > 0.9
    assert main(["coverage", "--format", "coreml"]) == 0
    assert "`Conv`" in capsys.readouterr().out


def test_the_command_exists_and_says_its_usage() -> None:
    result = subprocess.run([sys.executable, "-m", "workbench"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "COMMAND" in result.stderr


def test_importing_the_package_is_quick_and_brings_no_jupyter() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import workbench; workbench.load; "
        "print(time.perf_counter() - start); "
        "heavy = ('ipywidgets', 'IPython', 'coremltools', 'torch', 'matplotlib'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)  # warms the caches
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    seconds, loaded = run.stdout.splitlines()
    assert loaded == "[]"
    assert float(seconds) < 5, "a bound for a busy machine; 0.5 s is the aim on an idle one"


def test_options_with_structure_are_json_and_words_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = str(tmp_path / "d.mlpackage")
    labels = json.dumps([f"class {index}" for index in range(10)])
    arguments = ["convert", DIGITS, package, "--shape", "image=1,1,8,8", "--option", f"labels={labels}"]
    said = ["--option", 'metadata={"author": "A. Maker"}', "--option", 'images={"image": {"colours": "GRAYSCALE"}}']
    assert main([*arguments, *said]) == 0
    capsys.readouterr()
    assert main(["inspect", package]) == 0
    shown = capsys.readouterr().out
    assert "labels  10: class 0 class 1" in shown
    assert "author: A. Maker" in shown
    np.savez(tmp_path / "f.npz", image=np.full((1, 1, 8, 8), 9, np.float32))
    assert main(["run", package, "--feeds", str(tmp_path / "f.npz")]) == 0
    assert "classLabel: str" in capsys.readouterr().out
    assert main([*arguments[:5], "--option", "labels=[1,", "--overwrite"]) == 2
    assert "is no JSON" in capsys.readouterr().err


def _faulty(folder: Path) -> str:
    """The digits network with one weight too large."""
    import onnx
    from onnx import numpy_helper

    proto = onnx.load(DIGITS)
    weights = next(tensor for tensor in proto.graph.initializer if tensor.name == "dense1.weight")
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * np.float32(1.1), weights.name))
    onnx.save(proto, folder / "faulty.onnx")
    return str(folder / "faulty.onnx")


def test_compare_writes_everything_that_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faulty = _faulty(tmp_path)
    report, repro, explorer = tmp_path / "r.json", tmp_path / "repro", tmp_path / "explorer"
    written = ["--save", str(report), "--repro", str(repro), "--model-explorer", str(explorer)]
    assert main(["compare", DIGITS, faulty, *written]) == 1
    output = capsys.readouterr().out
    assert all(f"written: {path}" in output for path in (report, repro, explorer))
    assert wb.load_report(report).count("failing") > 0
    assert "dense1" in (repro / "REPORT.md").read_text(encoding="utf-8")
    assert (explorer / "mapping.json").is_file()
    script = subprocess.run([sys.executable, str(repro / "show_difference.py")], capture_output=True, check=False)
    assert script.returncode == 0
    assert main(["compare", DIGITS, faulty, "--repro", str(repro)]) == 2, "nothing is replaced"
    assert "--overwrite" in capsys.readouterr().err
    (repro / "REPORT.md").write_text("old", encoding="utf-8")
    again = ["--repro", str(repro), "--model-explorer", str(explorer), "--overwrite"]
    assert main(["compare", DIGITS, faulty, *again]) == 1, "of an earlier comparison it is, if that is said"
    assert "dense1" in (repro / "REPORT.md").read_text(encoding="utf-8")
    (tmp_path / "mine").mkdir()
    assert main(["compare", DIGITS, faulty, "--repro", str(tmp_path / "mine"), "--overwrite"]) == 2
    assert "has no repro.json, so it is not replaced" in capsys.readouterr().err
    assert main(["compare", DIGITS, DIGITS, "--repro", str(tmp_path / "none")]) == 0
    assert "nothing to reproduce" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()
    assert main(["compare", DIGITS, DIGITS, "--repro", str(tmp_path / "conv"), "--layer", "conv1"]) == 0
    assert (tmp_path / "conv").is_dir()


def test_compare_takes_pictures_arrays_and_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    images, _ = wb.samples.digit_images()
    np.save(tmp_path / "one.npy", images[:1])
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(3):
        Image.fromarray(images[index, 0].astype(np.uint8)).resize((16, 16)).save(folder / f"{index}.png")
    assert main(["compare", DIGITS, DIGITS, "--feeds", str(tmp_path / "one.npy")]) == 0
    assert main(["compare", DIGITS, DIGITS, "--feeds", str(folder)]) == 2
    assert "16 pixels high" in capsys.readouterr().err
    assert main(["compare", DIGITS, DIGITS, "--feeds", str(folder), "--resize", "8,8"]) == 0
    assert main(["compare", DIGITS, DIGITS, "--feeds", str(folder), "--resize", "8"]) == 2
    assert main(["compare", DIGITS, DIGITS, "--resize", "8,8"]) == 2
    assert main(["compare", DIGITS, DIGITS, "--layer", "conv1"]) == 2


def test_a_recording_is_compared_in_place_of_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = tmp_path / "digits.recording"
    assert main(["record", DIGITS, str(recording), "--seed", "3"]) == 0
    assert f"written: {recording}" in capsys.readouterr().out
    assert main(["record", DIGITS, str(recording)]) == 2
    assert main(["record", DIGITS, str(recording), "--overwrite", "--layer", "dense1"]) == 0
    assert main(["compare", str(recording), DIGITS]) == 0
    assert main(["compare", DIGITS, str(recording)]) == 0
    assert main(["compare", str(recording), _faulty(tmp_path)]) == 1
    assert "dense1" in capsys.readouterr().out
    assert main(["inspect", str(recording)]) == 0
    assert main(["convert", str(recording), str(tmp_path / "x.nnef")]) == 3
