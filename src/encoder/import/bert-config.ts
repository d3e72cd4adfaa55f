import { SwitchyardError } from '../../errors.js';

/** What the graph needs to know of a BERT `config.json`. */
export interface BertConfig {
  readonly hiddenSize: number;
  readonly headCount: number;
  readonly layerCount: number;
  readonly intermediateSize: number;
  readonly vocabularySize: number;
  readonly positionCount: number;
  readonly typeCount: number;
  readonly layerNormEpsilon: number;
  readonly padTokenId: number;
}

/** Settings that change the graph and that the builder has one form of. */
const SUPPORTED = { model_type: 'bert', hidden_act: 'gelu', position_embedding_type: 'absolute' } as const;

/** Errors: INVALID_MODEL naming the setting. */
export function parseBertConfig(json: unknown, fileName: string): BertConfig {
  const fail = (problem: string): SwitchyardError =>
    new SwitchyardError('INVALID_MODEL', `${fileName} ${problem}`, { details: { file: fileName } });
  if (typeof json !== 'object' || json === null) throw fail('is not a JSON object');
  const settings = json as Record<string, unknown>;

  for (const [key, value] of Object.entries(SUPPORTED)) {
    if (settings[key] !== value) {
      throw fail(
        `has ${key} ${JSON.stringify(settings[key])}; only ${JSON.stringify(value)} can be converted`,
      );
    }
  }
  const integer = (key: string, minimum = 1): number => {
    const value = settings[key];
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < minimum || value > 1 << 24) {
      throw fail(`must have an integer ${key} >= ${minimum}`);
    }
    return value;
  };
  const layerNormEpsilon = settings.layer_norm_eps;
  if (typeof layerNormEpsilon !== 'number' || !(layerNormEpsilon > 0)) {
    throw fail('must have a layer_norm_eps > 0');
  }
  const config: BertConfig = {
    hiddenSize: integer('hidden_size'),
    headCount: integer('num_attention_heads'),
    layerCount: integer('num_hidden_layers'),
    intermediateSize: integer('intermediate_size'),
    vocabularySize: integer('vocab_size'),
    positionCount: integer('max_position_embeddings'),
    typeCount: integer('type_vocab_size'),
    layerNormEpsilon,
    padTokenId: integer('pad_token_id', 0),
  };
  if (config.hiddenSize % config.headCount !== 0) {
    throw fail(`has hidden_size ${config.hiddenSize}, which ${config.headCount} heads do not divide`);
  }
  return config;
}
