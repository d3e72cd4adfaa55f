import { fileURLToPath } from 'node:url';
import { SwitchyardError } from '../errors.js';

const URI_SHOWN = 200;

/** The path that a `file://` URI names on this machine. Errors: INVALID_ARGUMENT for another machine's, and for what is no path. */
export function pathOfFileUri(uri: string): string {
  try {
    const path = fileURLToPath(uri);
    if (!path.includes('\0')) return path;
  } catch {
    // Said below.
  }
  throw new SwitchyardError(
    'INVALID_ARGUMENT',
    `${JSON.stringify(uri.slice(0, URI_SHOWN))} names no file of this machine: it must be file:/// and an absolute path`,
  );
}
