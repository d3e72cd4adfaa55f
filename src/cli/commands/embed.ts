import type { Command } from 'commander';
import { clientAccess } from '../client-access.js';
import { GatewayClient } from '../gateway-client.js';
import { type CommonOptions, commandConfig, commandOutput, urlOf } from '../options.js';

interface EmbedAnswer {
  readonly model: string;
  readonly fingerprint: string;
  readonly dimensions: number;
  readonly vector: readonly number[];
  readonly token_count: number;
  readonly truncated: boolean;
}

interface EmbedOptions extends CommonOptions {
  readonly role: string;
  readonly url?: string;
}

export function addEmbedCommand(program: Command): void {
  program
    .command('embed')
    .description('the vector of a text, from a running gateway')
    .argument('<model>', 'name@version or fingerprint')
    .argument('<text...>', 'the text')
    .option('--role <role>', 'query or document', 'query')
    .option('--url <url>', 'the gateway (default: listen.http of the configuration)')
    .action(async (model: string, words: string[], _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<EmbedOptions>();
      const client = new GatewayClient(
        options.url ?? urlOf(commandConfig(options).listen.http),
        clientAccess(options),
      );
      const body = { model, text: words.join(' '), input_role: options.role };
      const answer = await client.post<EmbedAnswer>('/v1/embed', body);
      commandOutput(options).answer(answer, formatVector);
    });
}

function formatVector(answer: EmbedAnswer): string {
  const head = answer.vector.slice(0, 6).map((value) => value.toFixed(5));
  return [
    `[${head.join(', ')}, …]  ${answer.dimensions} numbers; all of them with --json`,
    `model ${answer.model}, fingerprint ${answer.fingerprint}, ${answer.token_count} tokens${answer.truncated ? ', cut at max tokens' : ''}`,
  ].join('\n');
}
