import t from 'tap';
import { compileTemplate } from '../../src/lifecycle/document-text.js';
import { BlockEmbedder } from '../../src/lifecycle/reembed/embed-blocks.js';
import { KnownVectors } from '../../src/lifecycle/reembed/known-vectors.js';
import type { SourceDocument } from '../../src/lifecycle/source/document.js';
import { startEncoder } from '../encoder-process/start.js';
import { bareModelFolder } from '../fixtures/tiny-model.js';

t.test('a document whose text can have no vector is named', async (t) => {
  const model = await bareModelFolder(t, 'mean');
  const { encoder } = startEncoder(t, model);
  await encoder.ready();
  const rowsOf = async (texts: readonly string[]): Promise<number> => {
    const { dimensions, max_tokens: maxTokens } = model.manifest;
    const embedder = new BlockEmbedder({
      encoder: async () => encoder,
      dimensions,
      maxTokens,
      render: compileTemplate('{text}'),
      chunking: null,
      countTokens: () => 0,
      known: new KnownVectors(dimensions),
      batchTexts: 64,
      counts: { documents: 0, rows: 0, encoded: 0, deduplicated: 0, reused: 0 },
      onDocument: () => undefined,
    });
    async function* documents(): AsyncGenerator<SourceDocument> {
      for (const [at, text] of texts.entries())
        yield { id: `d${at}`, text, title: null, attributes: {}, vector: null };
    }
    let rows = 0;
    for await (const block of embedder.blocks(documents(), async () => undefined)) rows += block.rows.length;
    return rows;
  };
  const texts = Array.from({ length: 100 }, (_, at) => `text ${at} of a cat`);
  t.equal(await rowsOf(texts), 100);
  await t.rejects(rowsOf([...texts.slice(0, 70), '\u200b', ...texts.slice(70)]), {
    reason: 'EMPTY_QUERY',
    message: /^document "d70", chunk 0: a text has no token under this model/,
  });
  t.equal(encoder.counters.restarts, 0);
});
