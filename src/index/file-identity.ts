import { type BigIntStats, fstatSync, statSync } from 'node:fs';

/** Tells whether a path still names the very file that was hashed, unmodified. */
export interface FileIdentity {
  readonly device: bigint;
  readonly inode: bigint;
  readonly bytes: bigint;
  readonly modifiedNs: bigint;
  readonly changedNs: bigint;
}

const identityOf = (stat: BigIntStats): FileIdentity => ({
  device: stat.dev,
  inode: stat.ino,
  bytes: stat.size,
  modifiedNs: stat.mtimeNs,
  changedNs: stat.ctimeNs,
});

export const identifyFile = (file: string): FileIdentity => identityOf(statSync(file, { bigint: true }));
export const identifyDescriptor = (descriptor: number): FileIdentity =>
  identityOf(fstatSync(descriptor, { bigint: true }));

export const isSameFile = (a: FileIdentity, b: FileIdentity): boolean =>
  a.device === b.device &&
  a.inode === b.inode &&
  a.bytes === b.bytes &&
  a.modifiedNs === b.modifiedNs &&
  a.changedNs === b.changedNs;
