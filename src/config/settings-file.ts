import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { SwitchyardError } from '../errors.js';
import { parseYaml } from './yaml.js';

const DEFAULT_FILE = path.join('config', 'switchyard.yaml');

/** What it says, not looked at yet; `file` null: the default one, where there is one. Errors: INVALID_CONFIG, quoting nothing of it. */
export function readSettingsFile(sources: {
  readonly file: string | null;
  readonly cwd: string;
}): Record<string, unknown> {
  const file = path.resolve(sources.cwd, sources.file ?? DEFAULT_FILE);
  if (!existsSync(file)) {
    if (sources.file !== null) throw invalid(`${file} does not exist`);
    return {};
  }
  const parsed = parseYaml(readText(file), (problem) => invalid(`${file} is not valid YAML: ${problem}`));
  if (parsed === null || parsed === undefined) return {};
  if (typeof parsed !== 'object' || Array.isArray(parsed))
    throw invalid(`${file} must be a mapping of settings`);
  return parsed as Record<string, unknown>;
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw invalid(`${file} cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
}

const invalid = (message: string): SwitchyardError => new SwitchyardError('INVALID_CONFIG', message);
