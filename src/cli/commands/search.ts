import type { Command } from 'commander';
import { clientAccess } from '../client-access.js';
import { GatewayClient } from '../gateway-client.js';
import { type CommonOptions, commandConfig, commandOutput, positiveInteger, urlOf } from '../options.js';
import { printable } from '../output.js';

/** A search response as HTTP gives it; only what a person is shown. */
export interface SearchAnswer {
  readonly query_id: string;
  readonly hits: readonly {
    readonly id: string;
    readonly chunk: number;
    readonly score: number;
    readonly document?: { readonly title?: string; readonly text?: string } | null;
  }[];
  readonly served_by: {
    readonly corpus_version: string;
    readonly build: string;
    readonly model: string;
    readonly route_revision: number;
  };
  readonly degraded: readonly string[];
  readonly timings: { readonly encode_us: number; readonly search_us: number; readonly total_us: number };
}

interface SearchOptions extends CommonOptions {
  readonly topK: number;
  readonly model?: string;
  readonly corpusVersion?: string;
  readonly affinityKey?: string;
  readonly url?: string;
}

export function addSearchCommand(program: Command): void {
  program
    .command('search')
    .description('ask a running gateway')
    .argument('<corpus>', 'name of the corpus')
    .argument('<text...>', 'the query, in your own words')
    .option('-k, --top-k <n>', 'documents wanted', positiveInteger, 5)
    .option('--model <ref>', 'only targets of this model (name@version or fingerprint)')
    .option('--corpus-version <version>', 'pin a corpus version')
    .option('--affinity-key <key>', 'stick to one target')
    .option('--url <url>', 'the gateway (default: listen.http of the configuration)')
    .action(async (corpus: string, words: string[], _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<SearchOptions>();
      const client = new GatewayClient(
        options.url ?? urlOf(commandConfig(options).listen.http),
        clientAccess(options),
      );
      const answer = await client.post<SearchAnswer>('/v1/search', {
        corpus,
        text: words.join(' '),
        top_k: options.topK,
        with_document: true,
        ...(options.model === undefined ? {} : { model: options.model }),
        ...(options.corpusVersion === undefined ? {} : { corpus_version: options.corpusVersion }),
        ...(options.affinityKey === undefined ? {} : { affinity_key: options.affinityKey }),
      });
      commandOutput(options).answer(answer, formatAnswer);
    });
}

/** Ranked hits with title and text, then one line that says what served them. */
export function formatAnswer(answer: SearchAnswer): string {
  const lines = answer.hits.map((hit, at) => {
    const title = printable(hit.document?.title ?? hit.id);
    const head = `${String(at + 1).padStart(2)}. ${hit.score.toFixed(3)}  ${title}  (${printable(hit.id)}${hit.chunk > 0 ? `, chunk ${hit.chunk}` : ''})`;
    const text = hit.document?.text;
    return text === undefined ? head : `${head}\n           ${shorten(printable(text), 100)}`;
  });
  if (lines.length === 0) lines.push('nothing found');
  const { served_by: by, timings } = answer;
  lines.push(
    '',
    `served by ${by.corpus_version}, build ${by.build}, model ${by.model}, route revision ${by.route_revision}, in ${(timings.total_us / 1000).toFixed(1)} ms`,
  );
  if (answer.degraded.length > 0) lines.push(`degraded: ${answer.degraded.join(', ')}`);
  return lines.join('\n');
}

const shorten = (text: string, length: number): string =>
  text.length <= length ? text : `${text.slice(0, length - 1).trimEnd()}…`;
