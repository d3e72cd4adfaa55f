import path from 'node:path';
import { SwitchyardError } from '../../errors.js';
import type { Metric } from '../../vocabulary.js';
import type { Normalisation, Pooling } from '../manifest.js';
import { readOptionalJson } from './input-file.js';

/** What the files that sentence-transformers and transformers leave beside a model say; undefined: they do not. */
export interface Declarations {
  readonly pooling: Pooling | undefined;
  readonly normalisation: Normalisation | undefined;
  readonly maxTokens: number | undefined;
  readonly queryPrefix: string | undefined;
  readonly documentPrefix: string | undefined;
  /** Names of prompts when none of them belongs to a role. */
  readonly strangePrompts: readonly string[];
  readonly metric: Metric | undefined;
  readonly padTokenId: number | undefined;
  /** A layer after pooling that a token-level graph does not hold. */
  readonly extraModule: string | undefined;
}

type Json = Readonly<Record<string, unknown>>;

/** tokenizers write 1e30 for "no limit known". */
const MAX_TOKENS_SENSIBLE = 1 << 20;

/** Reads what is there. Errors: INVALID_MODEL naming the file that says something this program cannot do. */
export async function readDeclarations(folder: string): Promise<Declarations> {
  const modules = await readModules(folder);
  const sentenceConfig = await readObject(folder, 'sentence_bert_config.json');
  const prompts = await readObject(folder, 'config_sentence_transformers.json');
  const tokenizerConfig = await readObject(folder, 'tokenizer_config.json');
  const config = await readObject(folder, 'config.json');
  const tokenizer = await readObject(folder, 'tokenizer.json');

  const poolingConfig = await readObject(folder, poolingFileOf(modules));
  const hasNormalise = modules?.some(({ type }) => type === 'Normalize');
  return {
    pooling: poolingConfig && declaredPooling(poolingConfig),
    normalisation: hasNormalise === undefined ? undefined : hasNormalise ? 'l2' : 'none',
    maxTokens: declaredMaxTokens(sentenceConfig, tokenizerConfig, config),
    ...declaredPrompts(prompts),
    metric: declaredMetric(prompts),
    padTokenId: declaredPadTokenId(tokenizer, tokenizerConfig, config),
    extraModule: modules?.find(({ type }) => !KNOWN_MODULES.includes(type))?.type,
  };
}

const KNOWN_MODULES: readonly string[] = ['Transformer', 'Pooling', 'Normalize'];

/** Where the pooling's settings are, if they are, by the folder's modules.json. */
export async function poolingConfigFile(folder: string): Promise<string> {
  return poolingFileOf(await readModules(folder));
}

interface Module {
  readonly type: string;
  readonly folder: string;
}

const poolingFileOf = (modules: readonly Module[] | undefined): string =>
  path.posix.join(modules?.find(({ type }) => type === 'Pooling')?.folder ?? '1_Pooling', 'config.json');

async function readModules(folder: string): Promise<Module[] | undefined> {
  const json = await readOptionalJson(path.join(folder, 'modules.json'));
  if (json === undefined) return undefined;
  if (!Array.isArray(json)) throw invalid('modules.json', 'must be a list');
  return json.map((module: unknown) => {
    const { type, path: modulePath } = (module ?? {}) as { type?: unknown; path?: unknown };
    if (
      typeof type !== 'string' ||
      typeof modulePath !== 'string' ||
      modulePath.split(/[\\/]/).includes('..')
    ) {
      throw invalid('modules.json', 'must list modules with a type and a path inside the folder');
    }
    return { type: type.slice(type.lastIndexOf('.') + 1), folder: modulePath };
  });
}

const POOLING_MODES: Readonly<Record<string, Pooling>> = {
  pooling_mode_mean_tokens: 'mean',
  pooling_mode_cls_token: 'cls',
  pooling_mode_lasttoken: 'last_token',
};

function declaredPooling(config: Json): Pooling {
  const modes = Object.keys(config).filter((key) => key.startsWith('pooling_mode_') && config[key] === true);
  const [mode] = modes;
  const pooling = modes.length === 1 && mode !== undefined ? POOLING_MODES[mode] : undefined;
  if (pooling === undefined) {
    throw invalid(
      '1_Pooling/config.json',
      `asks for ${modes.join(' and ') || 'no pooling'}; mean, cls and last token are supported`,
    );
  }
  if (config.include_prompt === false) {
    throw invalid('1_Pooling/config.json', 'leaves the prompt out of pooling, which is not supported');
  }
  return pooling;
}

/** As sentence-transformers does it: what the model says, but no more than it has positions. */
function declaredMaxTokens(
  sentenceConfig: Json | undefined,
  tokenizerConfig: Json | undefined,
  config: Json | undefined,
): number | undefined {
  const declared =
    sensibleCount(sentenceConfig?.max_seq_length) ?? sensibleCount(tokenizerConfig?.model_max_length);
  const positions = sensibleCount(config?.max_position_embeddings);
  return declared === undefined || positions === undefined ? declared : Math.min(declared, positions);
}

const sensibleCount = (value: unknown): number | undefined =>
  typeof value === 'number' && Number.isSafeInteger(value) && value > 0 && value <= MAX_TOKENS_SENSIBLE
    ? value
    : undefined;

const QUERY_PROMPTS = ['query'] as const;
const DOCUMENT_PROMPTS = ['document', 'passage', 'corpus'] as const;

/** The prompt of a role, else the default prompt; names that belong to neither role are not guessed at. */
function declaredPrompts(
  config: Json | undefined,
): Pick<Declarations, 'queryPrefix' | 'documentPrefix' | 'strangePrompts'> {
  const prompts = isObject(config?.prompts) ? config.prompts : {};
  const defaultName = config?.default_prompt_name;
  const prompt = (roleNames: readonly string[]): string | undefined => {
    const names = typeof defaultName === 'string' ? [...roleNames, defaultName] : roleNames;
    const text = prompts[names.find((name) => Object.hasOwn(prompts, name)) ?? ''];
    return typeof text === 'string' ? text : undefined;
  };
  const queryPrefix = prompt(QUERY_PROMPTS);
  const documentPrefix = prompt(DOCUMENT_PROMPTS);
  const isStrange = queryPrefix === undefined && documentPrefix === undefined;
  return { queryPrefix, documentPrefix, strangePrompts: isStrange ? Object.keys(prompts) : [] };
}

const METRIC_OF: Readonly<Record<string, Metric>> = { cosine: 'cosine', dot: 'dot', euclidean: 'l2' };

function declaredMetric(config: Json | undefined): Metric | undefined {
  const name = config?.similarity_fn_name;
  if (name === undefined || name === null) return undefined;
  const metric = typeof name === 'string' ? METRIC_OF[name] : undefined;
  if (metric) return metric;
  throw invalid(
    'config_sentence_transformers.json',
    `has similarity_fn_name ${JSON.stringify(name)}; cosine, dot and euclidean are supported`,
  );
}

function declaredPadTokenId(
  tokenizer: Json | undefined,
  tokenizerConfig: Json | undefined,
  config: Json | undefined,
): number | undefined {
  const padding = tokenizer?.padding;
  if (isObject(padding) && isTokenId(padding.pad_id)) return padding.pad_id;
  if (isTokenId(config?.pad_token_id)) return config.pad_token_id;
  const padToken = tokenizerConfig?.pad_token;
  const content = isObject(padToken) ? padToken.content : padToken;
  const added = Array.isArray(tokenizer?.added_tokens) ? tokenizer.added_tokens : [];
  const entry = added.filter(isObject).find((token) => token.content === content);
  return isTokenId(entry?.id) ? entry.id : undefined;
}

const isTokenId = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;

async function readObject(folder: string, name: string): Promise<Json | undefined> {
  const json = await readOptionalJson(path.join(folder, name));
  if (json === undefined || isObject(json)) return json;
  throw invalid(name, 'must be a JSON object');
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const invalid = (file: string, problem: string): SwitchyardError =>
  new SwitchyardError('INVALID_MODEL', `${file} ${problem}`, { details: { file } });
