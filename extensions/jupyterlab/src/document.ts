import { ABCWidgetFactory, Base64ModelFactory, DocumentRegistry, DocumentWidget } from '@jupyterlab/docregistry';
import type { Contents } from '@jupyterlab/services';
import { Widget } from '@lumino/widgets';

import { workbenchIcon } from './icons';

const NO_CONTENT = 'exchange-workbench-no-content';

/** A document model without content: a model may be gigabytes, and nothing here looks into it. */
export class NoContentModelFactory extends Base64ModelFactory {
  get name(): string {
    return NO_CONTENT;
  }

  /** Without a format the context does not fetch the content; the declared type of the base class has no `null`. */
  get fileFormat(): Contents.FileFormat {
    return null;
  }
}

function sizeText(bytes: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB'];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? bytes : bytes.toFixed(1)} ${units[unit]}`;
}

/** What a double click on a model file shows: what it is, how large, and the way into the workbench. */
class ModelCard extends Widget {
  constructor(path: string, fileType: string, size: Promise<number | undefined>, open: () => void) {
    super();
    this.node.style.padding = '24px';
    const heading = document.createElement('h2');
    heading.textContent = path; // textContent throughout: a file name is never markup
    const facts = document.createElement('p');
    facts.textContent = fileType;
    const button = document.createElement('button');
    button.className = 'jp-mod-styled jp-mod-accept';
    button.textContent = 'Open in Conversion Workbench';
    button.addEventListener('click', open);
    this.node.append(heading, facts, button);
    void size.then(bytes => {
      facts.textContent = bytes === undefined ? fileType : `${fileType}, ${sizeText(bytes)}`;
    });
  }
}

/** Makes the card for the model files that are no text (an NNEF graph opens in the editor). */
export class ModelCardFactory extends ABCWidgetFactory<DocumentWidget<ModelCard>> {
  constructor(
    fileTypes: string[],
    private readonly registry: DocumentRegistry,
    private readonly contents: Contents.IManager,
    private readonly open: (path: string) => void
  ) {
    super({ name: 'Model', modelName: NO_CONTENT, fileTypes, defaultFor: fileTypes, readOnly: true });
  }

  protected createNewWidget(context: DocumentRegistry.Context): DocumentWidget<ModelCard> {
    const path = context.path;
    const fileType = this.registry.getFileTypesForPath(path)[0]?.displayName ?? 'Model';
    const size = this.contents.get(path, { content: false }).then(
      file => file.size,
      () => undefined
    );
    const content = new ModelCard(context.localPath, fileType, size, () => this.open(path));
    content.title.icon = workbenchIcon;
    return new DocumentWidget({ content, context });
  }
}
