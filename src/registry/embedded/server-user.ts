import { stat } from 'node:fs/promises';
import path from 'node:path';

/** The user PostgreSQL runs as. It refuses to run as root, so root starts it as somebody else. */
export interface ServerUser {
  readonly uid: number;
  readonly gid: number;
  /** Whether that is another user than this process: then files are given to it and spawns name it. */
  readonly isOther: boolean;
}

/** `nobody` on Debian and most others: owns nothing, may do nothing. */
const UNPRIVILEGED_ID = 65_534;

/** Not os.userInfo(): that fails where the uid has no name, as in many containers. */
export const ownIds = (): { readonly uid: number; readonly gid: number } => ({
  uid: process.getuid?.() ?? 0,
  gid: process.getgid?.() ?? 0,
});

/** As root: the owner of an existing data folder (a registry made by a user stays that user's), else 65534. */
export async function chooseServerUser(dataFolder: string): Promise<ServerUser> {
  const { uid, gid } = ownIds();
  if (uid !== 0) return { uid, gid, isOther: false };
  const owner = await stat(dataFolder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (owner !== null && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid, isOther: true };
  return { uid: UNPRIVILEGED_ID, gid: UNPRIVILEGED_ID, isOther: true };
}

/** The spawn options that make a child run as this user. */
export const runAs = (user: ServerUser): { readonly uid?: number; readonly gid?: number } =>
  user.isOther ? { uid: user.uid, gid: user.gid } : {};

/** Whether the user may pass through every folder above `file`, by their plain permissions. */
export async function canReach(user: ServerUser, file: string): Promise<boolean> {
  if (!user.isOther) return true;
  for (let folder = path.dirname(file); ; folder = path.dirname(folder)) {
    const { uid, gid, mode } = await stat(folder);
    const bit = uid === user.uid ? 0o100 : gid === user.gid ? 0o010 : 0o001;
    if ((mode & bit) === 0) return false;
    if (folder === path.dirname(folder)) return true;
  }
}
