"""What one meets in a widget who has no mouse or does not see well: the stops of Tab, and words hard to read."""

from __future__ import annotations

from dataclasses import dataclass

from playwright.sync_api import CDPSession

from tests.browser.labpage import LabPage

WIDGET = ".wb-workbench"

# Whether the focus is in the widget, whether a ring shows it, and whether at least its beginning is in sight.
_FOCUS = """selector => {
    const node = document.activeElement;
    const { outlineStyle, outlineWidth } = getComputedStyle(node);
    const { top, height } = node.getBoundingClientRect();
    return [
        node.closest(selector) !== null,
        outlineStyle !== 'none' && parseFloat(outlineWidth) >= 1,
        top >= 0 && top + Math.min(height, 20) <= innerHeight,
    ];
}"""

# Words whose contrast with what is behind them is below 4.5 (3 for large ones): WCAG 1.4.3; disabled ones are free.
_FAINT = """selector => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 });
    const context = canvas.getContext('2d', { willReadFrequently: true });
    const over = (colours) => {  // the lowest first; whatever notation a colour has, the canvas knows it
        context.clearRect(0, 0, 1, 1);
        for (const colour of ['white', ...colours]) {
            context.fillStyle = colour;
            context.fillRect(0, 0, 1, 1);
        }
        return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const luminance = channels => {
        const [red, green, blue] = channels.map(channel => {
            const value = channel / 255;
            return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const found = [];
    let count = 0;
    for (const root of document.querySelectorAll(selector)) {
        const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
            const node = walker.currentNode.parentElement;
            const text = walker.currentNode.textContent.trim();
            if (!text || !node.checkVisibility({ visibilityProperty: true })) continue;
            if (node.closest('option, .wb-hidden')) continue;
            if (node.closest(':disabled, [aria-disabled="true"]')) continue;
            const behind = [];
            for (let at = node; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
            const style = getComputedStyle(node);
            const ink = node instanceof SVGElement ? style.fill : style.color;
            const [dark, light] = [luminance(over(behind)), luminance(over([...behind, ink]))].sort((a, b) => a - b);
            const contrast = (light + 0.05) / (dark + 0.05);
            const size = parseFloat(style.fontSize);
            const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
            count += 1;
            if (contrast < (large ? 3 : 4.5)) found.push(`${text.slice(0, 40)}: ${contrast.toFixed(2)}`);
        }
    }
    return [count, found];
}"""


@dataclass(frozen=True)
class Stop:
    """A place where Tab stops: what it is said to be, and whether one sees that the focus is there."""

    role: str
    name: str
    ringed: bool
    in_sight: bool


def tab_stops(lab: LabPage, most: int = 120) -> list[Stop]:
    """Press Tab from the notebook's cell through its widget; every stop there, as the browser tells it to others."""
    lab.command("notebook:enter-command-mode")
    session = lab.page.context.new_cdp_session(lab.page)
    found: list[Stop] = []
    for _ in range(most):
        lab.page.keyboard.press("Tab")
        inside, ringed, in_sight = lab.page.evaluate(_FOCUS, WIDGET)
        if inside:
            found.append(Stop(*_told(session), ringed, in_sight))
        elif found:
            break
    session.detach()
    return found


def _told(session: CDPSession) -> tuple[str, str]:
    """Role and name of what has the focus, from the browser's accessibility tree."""
    focused = session.send("Runtime.evaluate", {"expression": "document.activeElement"})["result"]["objectId"]
    asked = {"objectId": focused, "fetchRelatives": False}
    (node,) = session.send("Accessibility.getPartialAXTree", asked)["nodes"]
    return node["role"]["value"], node.get("name", {}).get("value", "").strip()


def faint_words(lab: LabPage) -> tuple[int, list[str]]:
    """How many pieces of text there are in the widget, and those that do not stand out enough."""
    count, found = lab.page.evaluate(_FAINT, WIDGET)
    return count, found
