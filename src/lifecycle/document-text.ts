import { SwitchyardError } from '../errors.js';
import type { StoredDocument } from '../index/search-index.js';
import type { SourceDocument } from './source/document.js';

/** What is embedded of a document: title and text, where there is a title. */
export const DEFAULT_DOCUMENT_TEMPLATE = '{title}\n{text}';
/** Name of the text normalisation that is applied before the template, recorded in the manifest. */
export const TEXT_NORMALISATION = 'nfc-trim';

export type RenderDocument = (document: Pick<SourceDocument, 'title' | 'text' | 'attributes'>) => string;

const PLACEHOLDER = /\{([^{}]*)\}/g;

/**
 * Compiles a document template: `{title}`, `{text}`, `{attributes.<key>}`. A missing title or attribute is empty, and
 * lines left without content go with it. Errors: INVALID_ARGUMENT for another placeholder or one without `{text}`.
 */
export function compileTemplate(template: string): RenderDocument {
  const names = [...template.matchAll(PLACEHOLDER)].map(([, name]) => name as string);
  for (const name of names) {
    if (name !== 'title' && name !== 'text' && !/^attributes\.[^.]+$/.test(name)) {
      throw new SwitchyardError(
        'INVALID_ARGUMENT',
        `the document template has {${name}}; known are {title}, {text} and {attributes.<key>}`,
      );
    }
  }
  if (!names.includes('text')) {
    throw new SwitchyardError('INVALID_ARGUMENT', 'the document template must contain {text}');
  }
  return (document) =>
    template
      .replace(PLACEHOLDER, (_whole, name: string) => fieldOf(document, name))
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '')
      .join('\n');
}

function fieldOf(document: Parameters<RenderDocument>[0], name: string): string {
  if (name === 'title') return normaliseText(document.title ?? '');
  if (name === 'text') return normaliseText(document.text);
  const key = name.slice('attributes.'.length);
  const value =
    document.attributes !== null && Object.hasOwn(document.attributes, key) ? document.attributes[key] : '';
  return normaliseText(typeof value === 'object' ? JSON.stringify(value) : String(value));
}

export const normaliseText = (text: string): string => text.normalize('NFC').trim();

/** What `with_document` gives back. */
export function storedDocument({ title, text, attributes }: SourceDocument): StoredDocument {
  return {
    ...(title === null ? {} : { title }),
    text: normaliseText(text),
    ...(attributes === null ? {} : { attributes }),
  };
}
