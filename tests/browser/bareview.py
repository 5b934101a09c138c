"""One view on a bare page, with a state in place of a kernel: what it sends is kept, what it hears the test says."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

_SHOW = """async ([source, style, state]) => {
    const heard = {};
    window.sent = [];
    window.model = {
        get: name => state[name],
        set: (name, value) => { state[name] = value; (heard['change:' + name] ?? []).forEach(act => act()); },
        save_changes: () => {},
        send: (content, callbacks, buffers) =>
            window.sent.push({ ...content, bytes: (buffers ?? []).map(item => item.byteLength) }),
        on: (name, act) => name.split(' ').forEach(one => (heard[one] ??= []).push(act)),
        off: () => {},
    };
    window.hear = message => (heard['msg:custom'] ?? []).forEach(act => act(message));
    const css = document.createElement('style');
    css.textContent = style;
    const el = document.createElement('div');
    document.body.replaceChildren(css, el);
    const view = await import(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
    view.default.render({ model: window.model, el });
}"""


def show(page: Page, view: Any, **state: Any) -> None:
    """Render the view of a widget on the page with its own state, changed by ``state``."""
    held = {name: value for name, value in view.get_state().items() if not name.startswith("_")}
    page.evaluate(_SHOW, [view._esm, view._css, {**held, **state}])


def trait(page: Page, name: str) -> Any:
    """What the view has set."""
    return page.evaluate("name => window.model.get(name)", name)


def hear(page: Page, **message: Any) -> None:
    """Give the view a message of the kernel."""
    page.evaluate("message => window.hear(message)", message)


def sent(page: Page) -> list[dict[str, Any]]:
    """The messages that the view has sent so far."""
    found: list[dict[str, Any]] = page.evaluate("window.sent")
    return found
