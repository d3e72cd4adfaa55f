import type { Config } from '../../config/config.js';
import { providerProblem } from '../../encoder/providers.js';
import { type Finding, fail, ok, warn } from './finding.js';

/** The configured execution providers, in their order. What `require` forbids to fall back from is a failure. */
export function checkProviders({ encoder }: Config): Finding[] {
  return encoder.providers.map((provider, at) => {
    const check = `provider ${provider}`;
    const problem = providerProblem(provider);
    if (problem === null) return ok(check, at === 0 ? 'first choice, nothing stands against it' : 'fallback');
    const required = encoder.require && at === 0;
    return required
      ? fail(check, problem, 'encoder.require forbids a fallback: mend this or set it to false')
      : warn(check, problem, 'the encoder falls back to the next provider and says so');
  });
}
