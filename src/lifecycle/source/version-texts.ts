import { SwitchyardError } from '../../errors.js';
import { DOCUMENTS_FILE } from '../../index/file-names.js';
import type { Bundle } from '../../index/manifest.js';
import { storedRows } from '../../index/stored-rows.js';
import type { CorpusSource } from './corpus-source.js';
import type { SourceDocument } from './document.js';

/**
 * The documents that a bundle keeps, as a source: their texts are embedded again by another model. It is at the watermark
 * of that bundle. Every file of it is hashed before the first document comes.
 */
export function versionTexts(bundle: Bundle): CorpusSource {
  const { manifest, digest } = bundle;
  const name = `${manifest.corpus}/${manifest.version}`;
  return {
    name,
    hasVectors: false,
    ...(manifest.source.feed === undefined ? {} : { feed: manifest.source.feed }),
    snapshot: async () => ({
      kind: 'version',
      name,
      // What the texts are: the same for every build of the same rows.
      sha256: manifest.files[DOCUMENTS_FILE]?.sha256 ?? digest,
      documentCount: manifest.document_count,
      documents: (from) => documents(bundle, from),
      changes: null,
      watermark: manifest.source.watermark,
    }),
  };
}

async function* documents(bundle: Bundle, from: number): AsyncGenerator<SourceDocument> {
  let at = 0;
  for await (const { rows } of storedRows(bundle))
    for (const { documentId, chunk, document, provenance } of rows) {
      if (chunk !== 0 || at++ < from) continue;
      if (document?.text === undefined)
        throw new SwitchyardError(
          'INVALID_ARGUMENT',
          `${bundle.manifest.corpus}/${bundle.manifest.version} keeps no text of document ${documentId}`,
        );
      const version = provenance?.sourceVersion ?? null;
      yield {
        id: documentId,
        text: document.text,
        title: document.title ?? null,
        attributes: document.attributes ?? null,
        vector: null,
        ...(version === null ? {} : { version }),
      };
    }
}
