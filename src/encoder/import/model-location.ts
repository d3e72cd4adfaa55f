import { SwitchyardError } from '../../errors.js';

export const HUGGING_FACE_ENDPOINT = 'https://huggingface.co';

/** Where a model's files lie: below any HTTPS address, or in a repository laid out as Hugging Face's are. */
export type ModelLocation =
  | { readonly url: string }
  | {
      /** `organisation/name` */
      readonly repository: string;
      /** Branch, tag or commit. Default: `main`. */
      readonly revision?: string;
      /** Default: https://huggingface.co */
      readonly endpoint?: string;
    };

export interface ResolvedLocation {
  /** Ends with a slash; files are relative to it. */
  readonly base: URL;
  /** Host that may be shown the HF_TOKEN. */
  readonly tokenHost: string | undefined;
  /** Name of the source for a person, when all files were of this commit. */
  describe(commit: string | undefined): string;
}

const REPOSITORY = /^[A-Za-z0-9][\w.-]{0,127}(\/[A-Za-z0-9][\w.-]{0,127})?$/;
const REVISION = /^[A-Za-z0-9][\w.-]*(\/[\w.-]+)*$/;
const FILE_SEGMENT = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;

/** Errors: INVALID_ARGUMENT saying what cannot be an address. Never quotes one that holds a password. */
export function resolveLocation(location: ModelLocation): ResolvedLocation {
  if ('url' in location) {
    const base = parseAddress(location.url, 'url');
    return { base, tokenHost: undefined, describe: () => base.href };
  }
  const { repository, revision = 'main', endpoint = HUGGING_FACE_ENDPOINT } = location;
  if (!REPOSITORY.test(repository)) throw invalid('repository', 'must be organisation/name');
  if (!REVISION.test(revision) || revision.includes('..'))
    throw invalid('revision', 'must be a branch, tag or commit');
  const root = parseAddress(endpoint, 'endpoint');
  return {
    base: new URL(`${repository}/resolve/${encodeURIComponent(revision)}/`, root),
    tokenHost: root.host,
    describe: (commit) => `${new URL(repository, root).href}@${commit ?? revision}`,
  };
}

/** The address of a file by its path below the base. Errors: INVALID_ARGUMENT for a path that leads elsewhere. */
export function fileUrl(base: URL, file: string): URL {
  const segments = file.split('/');
  if (segments.every((segment) => FILE_SEGMENT.test(segment))) return new URL(segments.join('/'), base);
  throw invalid('file', `${JSON.stringify(file)} must be a path of plain names`);
}

function parseAddress(text: string, setting: string): URL {
  if (!URL.canParse(text)) throw invalid(setting, 'must be an https URL');
  const url = new URL(text);
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    throw invalid(setting, 'must have no user, password, query or fragment');
  }
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return url;
}

const invalid = (setting: string, problem: string): SwitchyardError =>
  new SwitchyardError('INVALID_ARGUMENT', `${setting} ${problem}`, { details: { field: setting } });
