import type { InputRole } from '../vocabulary.js';
import type { RunShape } from './batch-tensors.js';
import type { Batcher } from './batcher.js';
import type { ModelManifest } from './manifest.js';
import type { TokenisedText } from './tokenizer.js';

/** The model that a worker runs. */
export interface WorkerSession {
  readonly manifest: ModelManifest;
  tokenizeOne(text: string, role: InputRole): TokenisedText;
  run(texts: readonly TokenisedText[], shape?: RunShape): Promise<Float32Array>;
  /** A run is another thread's: this one can read, tokenise and answer meanwhile. Absent: a run blocks it. */
  readonly isBeside?: boolean;
}

export interface WorkerModel {
  readonly session: WorkerSession;
  readonly batcher: Batcher;
}
