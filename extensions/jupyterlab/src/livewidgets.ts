import type { Kernel, KernelMessage } from '@jupyterlab/services';
import type { JSONObject, JSONValue } from '@lumino/coreutils';

const TARGET = 'jupyter.widget';
const REFERENCE = 'IPY_MODEL_';

type Listener = (...args: unknown[]) => void;

/** What a view (an anywidget module) is given as its `model`: the state of a widget in the kernel. */
class LiveModel {
  constructor(private readonly comm: Kernel.IComm, readonly state: Record<string, JSONValue>) {
    comm.onMsg = message => this.receive(message.content.data as JSONObject);
  }

  get(name: string): JSONValue | undefined {
    return this.state[name];
  }

  set(name: string, value: JSONValue): void {
    this.changed[name] = value;
    this.put(name, value);
  }

  save_changes(): void {
    if (Object.keys(this.changed).length) {
      this.comm.send({ method: 'update', state: this.changed as JSONObject, buffer_paths: [] });
    }
    this.changed = {};
  }

  send(content: JSONValue): void {
    this.comm.send({ method: 'custom', content });
  }

  on(event: string, listener: Listener): void {
    this.listeners.set(event, [...(this.listeners.get(event) ?? []), listener]);
  }

  off(event: string, listener?: Listener): void {
    this.listeners.set(event, listener ? (this.listeners.get(event) ?? []).filter(known => known !== listener) : []);
  }

  private put(name: string, value: JSONValue): void {
    this.state[name] = value;
    this.fire(`change:${name}`);
  }

  private fire(event: string, ...args: unknown[]): void {
    for (const listener of this.listeners.get(event) ?? []) {
      listener(...args);
    }
  }

  private receive(data: JSONObject): void {
    if (data.method === 'custom') {
      this.fire('msg:custom', data.content, []);
    }
    if (data.method === 'update') {
      // All of it is in place before anybody is told, since a view may read several traits at once.
      const state = data.state as Record<string, JSONValue>;
      Object.assign(this.state, state);
      Object.keys(state).forEach(name => this.fire(`change:${name}`));
    }
  }

  private changed: Record<string, JSONValue> = {};
  private readonly listeners = new Map<string, Listener[]>();
}

/**
 * Shows the workbench's own views, live, outside a notebook: boxes, and modules with a `render` function.
 *
 * JupyterLab's widget manager belongs to notebooks and consoles; a document of a model has neither. The kernel speaks
 * the same protocol to whoever listens, and of ipywidgets' many widgets a document needs boxes only.
 */
export class LiveWidgets {
  constructor(kernel: Kernel.IKernelConnection) {
    kernel.registerCommTarget(TARGET, (comm, message) => this.open(comm, message));
  }

  /** The element of the widget with this id, and of all below it. */
  async render(id: string): Promise<HTMLElement> {
    const model = this.models.get(id);
    if (!model) {
      throw new Error(`The kernel has announced no widget ${id}.`);
    }
    const el = document.createElement('div');
    const classes = (model.get('_dom_classes') as string[] | undefined) ?? [];
    el.classList.add('jupyter-widgets', ...classes);
    this.follow(model, el);
    if (typeof model.get('_esm') === 'string') {
      await this.renderView(model, el);
    } else {
      const children = (model.get('children') as string[] | undefined) ?? [];
      el.classList.add('widget-box', model.get('_model_name') === 'HBoxModel' ? 'widget-hbox' : 'widget-vbox');
      el.append(...(await Promise.all(children.map(child => this.render(child.slice(REFERENCE.length))))));
    }
    return el;
  }

  dispose(): void {
    this.cleanups.splice(0).forEach(cleanup => cleanup());
    this.urls.forEach(url => URL.revokeObjectURL(url));
  }

  private open(comm: Kernel.IComm, message: KernelMessage.ICommOpenMsg): void {
    const data = message.content.data as JSONObject;
    this.models.set(comm.commId, new LiveModel(comm, { ...(data.state as Record<string, JSONValue>) }));
  }

  /** A widget is hidden by its layout. */
  private follow(model: LiveModel, el: HTMLElement): void {
    const layout = this.models.get(String(model.get('layout') ?? '').slice(REFERENCE.length));
    if (layout) {
      const draw = (): void => {
        el.style.display = String(layout.get('display') ?? '');
      };
      layout.on('change:display', draw);
      draw();
    }
  }

  private async renderView(model: LiveModel, el: HTMLElement): Promise<void> {
    const style = document.createElement('style');
    style.textContent = String(model.get('_css') ?? '');
    const place = document.createElement('div');
    el.append(style, place);
    const module = await this.load(String(model.get('_esm')));
    const cleanup = await module.default.render({ model, el: place });
    if (cleanup) {
      this.cleanups.push(cleanup);
    }
  }

  private load(source: string): Promise<{ default: { render: (props: object) => unknown | Promise<unknown> } }> & any {
    let url = this.urls.get(source);
    if (!url) {
      url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
      this.urls.set(source, url);
    }
    return import(/* webpackIgnore: true */ url);
  }

  private readonly models = new Map<string, LiveModel>();
  private readonly urls = new Map<string, string>();
  private readonly cleanups: Array<() => void> = [];
}
