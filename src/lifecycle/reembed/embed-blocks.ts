import { createHash } from 'node:crypto';
import type { EncodedBatch, Encoder } from '../../encoder/encoder.js';
import { REASONS, SwitchyardError, toSwitchyardError } from '../../errors.js';
import { type Chunking, chunkText } from '../chunking.js';
import { normaliseText, type RenderDocument, storedDocument } from '../document-text.js';
import type { SourceDocument } from '../source/document.js';
import type { EmbeddedBlock, EmbeddedRow } from './embedded-row.js';
import type { KnownVectors } from './known-vectors.js';

/** UTF-8 bytes of the texts of one encode call, about. */
const BATCH_BYTES_MAX = 8 << 20;
/** An encoder that crashed is started again by its supervisor; a text that ends it every time must not go on forever. */
const ENCODE_ATTEMPTS_MAX = 5;

/** How the texts of a run became vectors. */
export interface EmbedCounts {
  documents: number;
  rows: number;
  /** Texts that went through the model. */
  encoded: number;
  /** Rows whose text had been embedded before in this run. */
  deduplicated: number;
  /** Rows whose text an earlier version of the same model had embedded. */
  reused: number;
}

export interface EmbedOptions {
  /** Asked for when the first text needs it. */
  readonly encoder: () => Promise<Encoder>;
  readonly dimensions: number;
  readonly maxTokens: number;
  readonly render: RenderDocument;
  /** null: one row a document. */
  readonly chunking: Chunking | null;
  readonly countTokens: (text: string) => number;
  readonly known: KnownVectors;
  /** Texts of one encode call at most, 1..1024. */
  readonly batchTexts: number;
  readonly counts: EmbedCounts;
  /** A document's rows are on their way. */
  readonly onDocument: () => void;
}

/** A text's vector, once it is there. Shared by all rows of one text. */
interface Slot {
  values: Float32Array | null;
  truncated: boolean;
}

interface PendingRow {
  readonly document: SourceDocument;
  readonly chunk: number;
  readonly textHash: string;
  readonly slot: Slot;
}

interface Batch {
  readonly rows: PendingRow[];
  /** What is to be encoded for it. */
  readonly texts: string[];
  readonly slots: Slot[];
  /** Slots that a file fills. */
  readonly fromKnown: { readonly textHash: string; readonly slot: Slot }[];
  bytes: number;
}

/** Turns documents into rows with vectors: equal texts are encoded once, and those that the model embedded before never. */
export class BlockEmbedder {
  readonly #options: EmbedOptions;
  /** Of the batch in work and the one before: after that they are among the known. */
  #recent = new Map<string, Slot>();
  #before = new Map<string, Slot>();

  constructor(options: EmbedOptions) {
    this.#options = options;
  }

  /**
   * One batch ahead of the reader, so that encoding and writing overlap. The reader makes a block's texts known before
   * it asks for the next one. `onEncode`: texts of what was read so far go to the encoder next.
   */
  async *blocks(
    documents: AsyncIterable<SourceDocument>,
    onEncode: () => Promise<void>,
  ): AsyncGenerator<EmbeddedBlock> {
    let ahead: Promise<EmbeddedBlock> | null = null;
    try {
      for await (const batch of this.#batches(documents)) {
        if (batch.texts.length > 0) await onEncode();
        const next: Promise<EmbeddedBlock> = this.#embed(batch, ahead);
        // A failure of the batch ahead is seen when it is awaited; until then it must not count as unhandled.
        next.catch(() => undefined);
        if (ahead !== null) yield await ahead;
        ahead = next;
      }
      if (ahead !== null) yield await ahead;
    } finally {
      await ahead?.catch(() => undefined);
    }
  }

  async *#batches(documents: AsyncIterable<SourceDocument>): AsyncGenerator<Batch> {
    const { batchTexts, counts, onDocument } = this.#options;
    let batch = newBatch();
    for await (const document of documents) {
      for (const [chunk, text] of this.#textsOf(document).entries()) {
        this.#addRow(batch, document, chunk, text);
        const isFull =
          batch.texts.length >= batchTexts ||
          batch.bytes >= BATCH_BYTES_MAX ||
          batch.rows.length >= 4 * batchTexts;
        if (!isFull) continue;
        yield batch;
        batch = newBatch();
        this.#before = this.#recent;
        this.#recent = new Map();
      }
      counts.documents++;
      onDocument();
    }
    if (batch.rows.length > 0) yield batch;
    this.#before = this.#recent;
    this.#recent = new Map();
  }

  #textsOf(document: SourceDocument): readonly string[] {
    const { render, chunking, countTokens } = this.#options;
    const text = normaliseText(document.text);
    const chunks = chunking === null ? [text] : chunkText(text, chunking, countTokens);
    return chunks.map((chunk) => render({ ...document, text: chunk }));
  }

  #addRow(batch: Batch, document: SourceDocument, chunk: number, text: string): void {
    const { known, counts } = this.#options;
    const textHash = createHash('sha256').update(text).digest('hex');
    let slot = this.#recent.get(textHash) ?? this.#before.get(textHash);
    counts.rows++;
    batch.bytes += text.length;
    if (slot !== undefined) counts.deduplicated++;
    else {
      slot = { values: null, truncated: false };
      this.#recent.set(textHash, slot);
      if (known.has(textHash)) batch.fromKnown.push({ textHash, slot });
      else {
        batch.texts.push(text);
        batch.slots.push(slot);
      }
    }
    batch.rows.push({ document, chunk, textHash, slot });
  }

  async #embed(batch: Batch, before: Promise<EmbeddedBlock> | null): Promise<EmbeddedBlock> {
    const { dimensions } = this.#options;
    await this.#fillKnown(batch);
    await this.#encode(batch);
    // Slots that are shared with it are filled then.
    await before;
    const vectors = new Float32Array(batch.rows.length * dimensions);
    const rows = batch.rows.map(({ document, chunk, textHash, slot }, at): EmbeddedRow => {
      if (slot.values === null) throw new TypeError('a row of a batch has no vector');
      vectors.set(slot.values, at * dimensions);
      return {
        documentId: document.id,
        chunk,
        truncated: slot.truncated,
        textHash,
        sourceVersion: document.version ?? null,
        ...(chunk === 0 ? { document: storedDocument(document) } : {}),
      };
    });
    return { rows, vectors };
  }

  async #fillKnown(batch: Batch): Promise<void> {
    const { known, counts } = this.#options;
    for (const { textHash, slot } of batch.fromKnown) {
      const found = await known.find(textHash);
      if (found === null) throw new TypeError('the vector of a known text is not where it was written');
      slot.values = found.values;
      slot.truncated = found.truncated;
      if (found.isEarlier) counts.reused++;
      else counts.deduplicated++;
    }
  }

  async #encode(batch: Batch): Promise<void> {
    const { texts, slots } = batch;
    if (texts.length === 0) return;
    const { dimensions, maxTokens, counts } = this.#options;
    const encoding = this.#encoded(texts).catch((error: unknown) => this.#refuseByName(batch, error));
    const { values, tokenCounts } = await encoding;
    for (const [at, slot] of slots.entries()) {
      slot.values = values.subarray(at * dimensions, (at + 1) * dimensions);
      slot.truncated = (tokenCounts[at] ?? 0) > maxTokens;
    }
    counts.encoded += texts.length;
  }

  /** A text that can never be encoded, by its document: the encoder knows none. */
  async #refuseByName({ texts, slots, rows }: Batch, error: unknown): Promise<never> {
    const { reason } = toSwitchyardError(error);
    if (REASONS[reason].retry !== 'never') throw error;
    for (const [at, text] of texts.entries()) {
      const alone = await this.#encoded([text]).then(() => null, toSwitchyardError);
      const row = rows.find(({ slot }) => slot === slots[at]);
      if (alone?.reason !== reason || row === undefined) continue;
      const where = `document ${JSON.stringify(row.document.id)}, chunk ${row.chunk}`;
      throw new SwitchyardError(reason, `${where}: ${alone.message}`, {
        details: alone.details,
        cause: error,
      });
    }
    throw error;
  }

  async #encoded(texts: readonly string[]): Promise<EncodedBatch> {
    const encoder = await this.#options.encoder();
    for (let attempt = 1; ; attempt++) {
      try {
        return await encoder.encode({
          texts,
          role: 'document',
          lane: 'bulk',
          deadlineAtMs: Number.POSITIVE_INFINITY,
        });
      } catch (error) {
        if (toSwitchyardError(error).reason !== 'ENCODER_UNAVAILABLE' || attempt === ENCODE_ATTEMPTS_MAX)
          throw error;
        await encoder.ready();
      }
    }
  }
}

const newBatch = (): Batch => ({ rows: [], texts: [], slots: [], fromKnown: [], bytes: 0 });
