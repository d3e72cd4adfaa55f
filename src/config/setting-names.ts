import { editDistance, nearMatches } from './near.js';
import { ConfigFileSchema } from './schema.js';

interface Node {
  readonly properties?: Readonly<Record<string, Node>>;
  readonly items?: Node;
}

/** As far as names go. */
const ROOT = ConfigFileSchema as unknown as Node;

/** No name of a setting is longer, nor anything that was meant to be one. */
const NAME_CHARS_MAX = 64;
/** So many letters may be wrong in a name that is meant, and at most a third of them. */
const EDITS_MAX = 2;

/**
 * Where in the settings a JSON pointer is, dotted. Of a name that no setting has nothing is shown, however it looks: where
 * a colon is missing a value stands where a name should, and it may be a secret. What is said is which name of this place
 * it is nearly, or that it is the name of a setting elsewhere.
 */
export function settingAt(pointer: string): string {
  if (pointer === '') return 'the configuration';
  const shown: string[] = [];
  let node: Node | undefined = ROOT;
  for (const name of pointer.slice(1).split('/')) {
    const properties: Readonly<Record<string, Node>> = node?.properties ?? {};
    if (node?.items !== undefined && /^\d+$/.test(name)) {
      shown.push(name);
      node = node.items;
      continue;
    }
    shown.push(Object.hasOwn(properties, name) ? name : described(name, Object.keys(properties)));
    node = Object.hasOwn(properties, name) ? properties[name] : undefined;
  }
  return shown.join('.');
}

function described(name: string, known: readonly string[]): string {
  const plain = name.slice(0, NAME_CHARS_MAX).toLowerCase().replaceAll('-', '_');
  const [near] = nearMatches(plain, known, 1);
  if (near !== undefined && editDistance(plain, near) <= Math.min(EDITS_MAX, near.length / 3))
    return `(a name that no setting has; did you mean ${near}?)`;
  return NAMES.has(name) ? name : '(a name that no setting has)';
}

/** Of every setting and every group of them. */
const NAMES: ReadonlySet<string> = new Set(namesUnder(ROOT));

function namesUnder({ properties = {}, items }: Node): string[] {
  const below = Object.entries(properties).flatMap(([name, node]) => [name, ...namesUnder(node)]);
  return items === undefined ? below : [...below, ...namesUnder(items)];
}
