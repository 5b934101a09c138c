"""The graphs: ten thousand nodes on a bare page, and one selection for all views in JupyterLab. Times are printed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.labpage import LabPage
from tests.browser.models import write_chain, write_notebook
from workbench.widgets.graph_view import GraphView

# A page that holds one view, with a state in place of a kernel.
_SHOW = """async ([source, style, state]) => {
    const heard = {};
    window.model = {
        get: name => state[name],
        set: (name, value) => { state[name] = value; (heard['change:' + name] ?? []).forEach(act => act()); },
        save_changes: () => {},
        on: (name, act) => (heard[name] ??= []).push(act),
        off: () => {},
    };
    const css = document.createElement('style');
    css.textContent = style;
    const el = document.createElement('div');
    document.body.replaceChildren(css, el);
    const view = await import(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
    const begun = performance.now();
    view.default.render({ model: window.model, el });
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    return performance.now() - begun;
}"""

_PAN = """async () => {
    const canvas = document.querySelector('canvas');
    canvas.setPointerCapture = () => {};
    const send = (kind, x) => canvas.dispatchEvent(
        new PointerEvent(kind, { clientX: x, clientY: 200, pointerId: 1, bubbles: true }));
    const times = [];
    send('pointerdown', 200);
    for (let at = 0; at < 40; at += 1) {
        const begun = performance.now();
        send('pointermove', 210 + 2 * at);
        await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
        times.push(performance.now() - begun);
    }
    send('pointerup', 300);
    return times.sort((a, b) => a - b)[20];
}"""


def graph_of(count: int) -> dict[str, Any]:
    """A deep network with short and long skips, in groups."""
    rng = random.Random(0)
    edges = []
    for node in range(1, count):
        edges += [node - 1, node]
        if node > 40 and node % 7 == 0:
            edges += [node - rng.choice([2, 5, 12, 40]), node]
    names = [f"/encoder/layer.{node // 40}/op_{node}" for node in range(count)]
    return {"names": names, "operators": ["MatMul-13"] * count, "edges": edges, "layers": count}


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 800, "height": 600})
    yield context.new_page()
    context.close()


def show(page: Page, graph: dict[str, Any]) -> float:
    """Show a graph; milliseconds until it is painted."""
    view = GraphView()
    state = {"label": "net", "height": 400, "graph": graph, "tones": [], "heat": [], "selected": -1, "marked": []}
    return float(page.evaluate(_SHOW, [view._esm, view._css, state]))


def test_ten_thousand_nodes_are_drawn_and_panned(page: Page) -> None:
    shown = show(page, graph_of(10_000))
    page.get_by_role("button", name="Show the whole graph").click()
    frame = page.evaluate(_PAN)
    print(f"10,000 nodes: first picture {shown:.0f} ms, a frame of panning {frame:.0f} ms")
    assert shown < 2000
    assert frame < 100


def test_groups_collapse_and_expand_by_key_and_by_button(page: Page) -> None:
    show(page, graph_of(400))
    canvas = page.get_by_role("application")
    canvas.press("Home")
    said = page.locator("[aria-live]")
    expect(said).to_have_text("MatMul-13, /encoder/layer.0/op_0")
    canvas.press("c")
    canvas.press("ArrowDown")
    expect(said).to_have_text("MatMul-13, /encoder/layer.1/op_40")
    canvas.press("ArrowUp")
    expect(said).to_have_text("/encoder/layer.0, group of 40 layers")
    canvas.press("Enter")
    canvas.press("ArrowDown")
    expect(said).to_have_text("MatMul-13, /encoder/layer.0/op_1")
    page.get_by_role("button", name="Collapse or expand all groups").click()
    canvas.press("ArrowDown")
    expect(said).to_have_text("/encoder/layer.1, group of 40 layers")


def test_a_name_is_never_markup(page: Page) -> None:
    graph = graph_of(2)
    graph["names"] = ["<img src=x onerror=window.owned=1>", "b"]
    show(page, graph)
    canvas = page.get_by_role("application")
    canvas.press("Home")
    expect(page.locator("[aria-live]")).to_have_text("MatMul-13, <img src=x onerror=window.owned=1>")
    assert page.evaluate("window.owned") is None


# From a click in one view until the others show it: the profile's place, and both graphs' spoken words.
_FOLLOWED = """async ([row, layer]) => {
    const root = document.querySelector('.wb-workbench');
    const profile = root.querySelector('[role=slider]');
    const begun = performance.now();
    row.click();
    while (profile.getAttribute('aria-valuenow') !== String(layer + 1)) await new Promise(requestAnimationFrame);
    return performance.now() - begun;
}"""


def test_one_selection_for_all_views_of_a_thousand_layers(lab: LabPage, folder: Path) -> None:
    write_chain(folder / "chain.onnx", 1000)
    source = (
        "import workbench as wb\n"
        "shown = wb.Workbench('chain.onnx')\n"
        "shown.convert('nnef').compare()\n"
        "shown"
    )  # fmt: skip
    write_notebook(folder / "chain.ipynb", source)
    lab.open(f"{folder.name}/chain.ipynb")
    lab.run_all_cells()
    widget = lab.page.locator(".wb-workbench")
    canvases = widget.locator(".wb-pair canvas")
    canvases.first.wait_for(timeout=120_000)
    rows = widget.locator(".wb-body .wb-line").filter(visible=True)
    times = []
    for at in (3, 5, 1):
        line = rows.nth(at).element_handle()
        times.append(lab.page.evaluate(_FOLLOWED, [line, int(rows.nth(at).get_attribute("data-row") or 0)]))
    print(f"1,000 layers: from a click until the profile follows {sorted(times)[1]:.0f} ms")
    assert sorted(times)[1] < 1000  # 0.2 s on a machine that does nothing else
    # From a graph: the next layer; the table and the other graph follow.
    canvases.nth(0).press("Home")
    canvases.nth(0).press("ArrowDown")
    canvases.nth(0).press("ArrowDown")
    expect(widget.get_by_text("/block.0/l2", exact=False).filter(visible=True).first).to_be_visible()
    expect(widget.locator('.wb-line[aria-selected="true"]').filter(visible=True)).to_contain_text("l2")
    lab.screenshot("workbench-graphs")
