import { ABCWidgetFactory, Base64ModelFactory, DocumentRegistry, DocumentWidget } from '@jupyterlab/docregistry';
import type { Contents, ServiceManager } from '@jupyterlab/services';

import { ModelInspector } from './inspector';

const NO_CONTENT = 'exchange-workbench-no-content';

/** A document model without content: a model may be gigabytes, and the kernel reads it where it lies. */
export class NoContentModelFactory extends Base64ModelFactory {
  get name(): string {
    return NO_CONTENT;
  }

  /** Without a format the context does not fetch the content; the declared type of the base class has no `null`. */
  get fileFormat(): Contents.FileFormat {
    return null;
  }
}

/** Makes the document of the model files that are no text (an NNEF graph opens in the editor). */
export class ModelDocumentFactory extends ABCWidgetFactory<DocumentWidget<ModelInspector>> {
  constructor(
    fileTypes: string[],
    private readonly services: ServiceManager.IManager,
    private readonly open: (path: string) => void
  ) {
    super({ name: 'Model', modelName: NO_CONTENT, fileTypes, defaultFor: fileTypes, readOnly: true });
  }

  protected createNewWidget(context: DocumentRegistry.Context): DocumentWidget<ModelInspector> {
    const content = new ModelInspector(context.path, this.services, () => this.open(context.path));
    return new DocumentWidget({ content, context });
  }
}
