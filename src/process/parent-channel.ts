import { fstatSync } from 'node:fs';
import { Socket } from 'node:net';
import { SwitchyardError } from '../errors.js';
import { type ChannelEnd, FrameChannel } from './frame-channel.js';
import type { Frame } from './frames.js';

/** The descriptor at which a supervised child finds its end of the socketpair. */
export const CHANNEL_FD = 3;

export interface ParentChannelOptions {
  readonly payloadBytesMax: number;
  readonly bufferedBytesMax: number;
  readonly onFrame: (frame: Frame) => void;
  readonly onDrain: () => void;
  /** The parent ended the channel, or is gone: end now. */
  readonly onParentGone: (end: ChannelEnd) => void;
}

/**
 * The child's end of the channel. A child lives as long as this channel: it ends when its parent closes it or dies,
 * and not by SIGINT or SIGTERM, which a terminal or a service manager sends to the whole group while the parent
 * still drains.
 * Errors: INTERNAL when the process was not started by a supervisor.
 */
export function openParentChannel(options: ParentChannelOptions): FrameChannel {
  if (!isSocket(CHANNEL_FD))
    throw new SwitchyardError(
      'INTERNAL',
      'this program is a part of Switchyard and is started by it, not by hand',
    );
  process.on('SIGINT', ignoreSignal);
  process.on('SIGTERM', ignoreSignal);
  return new FrameChannel({
    socket: new Socket({ fd: CHANNEL_FD, readable: true, writable: true }),
    payloadBytesMax: options.payloadBytesMax,
    bufferedBytesMax: options.bufferedBytesMax,
    onFrame: options.onFrame,
    onDrain: options.onDrain,
    onClosed: options.onParentGone,
  });
}

function ignoreSignal(): void {
  // The end of the channel is what ends a child.
}

function isSocket(fd: number): boolean {
  try {
    return fstatSync(fd).isSocket();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EBADF') return false;
    throw error;
  }
}
