import { PathExt } from '@jupyterlab/coreutils';
import type { KernelMessage, ServiceManager, Session } from '@jupyterlab/services';
import type { JSONObject } from '@lumino/coreutils';
import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';

import { workbenchIcon } from './icons';
import { LiveWidgets } from './livewidgets';
import { pythonKernel } from './notebook';

const VIEW = 'application/vnd.jupyter.widget-view+json';

const ENDED = 'The kernel of this document has ended. Close the document and open it again.';

function element<K extends keyof HTMLElementTagNameMap>(tag: K, text: string): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  node.textContent = text; // textContent throughout: a file name is never markup
  return node;
}

/**
 * A model's summary, layers and graph, without a notebook: a kernel of its own reads the file where it lies, and only
 * what is shown comes to the browser.
 */
export class ModelInspector extends Widget {
  constructor(
    private readonly path: string,
    private readonly services: ServiceManager.IManager,
    open: () => void
  ) {
    super();
    this.addClass('exchange-workbench-inspector');
    Object.assign(this.node.style, { overflow: 'auto', padding: '16px 24px' });
    const bar = document.createElement('div');
    Object.assign(bar.style, { display: 'flex', gap: '16px', alignItems: 'center', flexWrap: 'wrap' });
    const button = element('button', 'Open in Conversion Workbench');
    button.className = 'jp-mod-styled jp-mod-accept';
    button.addEventListener('click', open);
    bar.append(element('h2', PathExt.basename(services.contents.localPath(path))), button);
    this.status.setAttribute('role', 'status');
    this.node.append(bar, this.status);
    this.title.icon = workbenchIcon;
    this.title.label = PathExt.basename(path);
    this.title.caption = path;
    this.title.closable = true;
  }

  dispose(): void {
    if (this.isDisposed) {
      return;
    }
    this.views?.dispose();
    const session = this.session;
    super.dispose();
    void session?.shutdown().then(() => session.dispose());
  }

  protected onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    if (!this.started) {
      this.started = true;
      this.inspect().catch(error => {
        const kernel = this.session?.kernel;
        const ended = this.session && (!kernel || kernel.isDisposed || kernel.status === 'dead');
        this.say(ended ? ENDED : error instanceof Error ? error.message : String(error));
      });
    }
  }

  private say(text: string): void {
    this.status.textContent = text;
    this.status.style.whiteSpace = 'pre-wrap';
  }

  private async inspect(): Promise<void> {
    this.say('Starting a Python kernel …');
    const { contents, kernelspecs, sessions } = this.services;
    await kernelspecs.ready;
    const session = await sessions.startNew({
      // No file of this name: the server starts a kernel in the folder of a file, but inside a model that is a folder.
      path: `${contents.localPath(this.path)} (inspected)`,
      name: PathExt.basename(this.path),
      type: 'exchange-workbench',
      kernel: { name: pythonKernel(kernelspecs.specs).name }
    });
    if (this.isDisposed) {
      await session.shutdown();
      return;
    }
    this.session = session;
    session.disposed.connect(() => this.isDisposed || this.say(ENDED));
    const kernel = session.kernel;
    if (!kernel) {
      throw new Error('The server started no kernel.');
    }
    this.say('Reading the model …');
    this.views = new LiveWidgets(kernel);
    // The kernel runs in the model's folder, so that the name is the path; as data, whatever is in it.
    const name = JSON.stringify(PathExt.basename(contents.localPath(this.path)));
    const future = kernel.requestExecute({
      code: `from workbench.widgets import ModelDocument\n\ndisplay(ModelDocument(${name}))`,
      store_history: false
    });
    future.onIOPub = message => void this.receive(message);
    await future.done;
  }

  private async receive(message: KernelMessage.IIOPubMessage): Promise<void> {
    const content = message.content as JSONObject;
    if (message.header.msg_type === 'error') {
      const missing = content.ename === 'ModuleNotFoundError' ? '\nInstall exchange-workbench where this kernel runs.' : '';
      this.say(`${content.ename}: ${content.evalue}${missing}`);
    }
    const view = message.header.msg_type === 'display_data' ? (content.data as JSONObject)[VIEW] : undefined;
    if (view && this.views) {
      const shown = await this.views.render(String((view as JSONObject).model_id));
      this.say('');
      this.node.append(shown);
    }
  }

  private readonly status = document.createElement('p');
  private session: Session.ISessionConnection | undefined;
  private views: LiveWidgets | undefined;
  private started = false;
}
