import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { SwitchyardError } from '../../errors.js';
import { pathOfFileUri } from '../../files/file-uri.js';
import { FolderStore } from './folder-store.js';
import { openS3Store, type S3Settings } from './s3-store.js';
import type { ArchiveStore } from './store-types.js';

/** `file:///folder`, `s3://bucket/prefix`, or the path of a folder. Errors: INVALID_ARGUMENT. */
export async function openArchiveStore(uri: string, s3: S3Settings): Promise<ArchiveStore> {
  if (uri.startsWith('s3://')) {
    const { bucket, prefix } = placeOf(uri);
    return openS3Store(bucket, prefix, s3);
  }
  const scheme = /^([a-z][a-z0-9+.-]+):\/\//i.exec(uri)?.[1];
  if (scheme !== undefined && scheme !== 'file')
    throw new SwitchyardError(
      'INVALID_ARGUMENT',
      `an archive lies in a folder or at s3://…, not ${scheme}://`,
    );
  const folder = path.resolve(scheme === 'file' ? pathOfFileUri(uri) : uri);
  return new FolderStore(folder, pathToFileURL(folder).href);
}

function placeOf(uri: string): { readonly bucket: string; readonly prefix: string } {
  try {
    const { hostname, pathname, search, hash } = new URL(uri);
    if (hostname !== '' && search === '' && hash === '')
      return { bucket: hostname, prefix: decodeURIComponent(pathname).replace(/^\/+|\/+$/g, '') };
  } catch {
    // Said below.
  }
  throw new SwitchyardError('INVALID_ARGUMENT', `${uri} must be s3://bucket or s3://bucket/prefix`);
}
