import { openParentChannel } from '../../src/process/parent-channel.js';

/**
 * A supervised child that does as it is told, for tests. Frames: 1 echo, 3 exit with the code in the payload,
 * 4 block for ever, 5 print the payload to stderr, 6 write garbage into the channel. It says 9 first, with its
 * environment. With the argument `stubborn` it does not end when its parent does.
 */
const isStubborn = process.argv.includes('stubborn');

const channel = openParentChannel({
  payloadBytesMax: 1024 * 1024,
  bufferedBytesMax: Number.POSITIVE_INFINITY,
  onFrame: ({ kind, id, payload }) => {
    switch (kind) {
      case 1:
        channel.send(2, id, [Buffer.from(payload)]);
        break;
      case 3:
        process.exit(payload[0]);
        break;
      case 4:
        for (;;);
      case 5:
        process.stderr.write(payload);
        break;
      case 6:
        garbage();
        break;
      default:
        process.exit(99);
    }
  },
  onDrain: () => undefined,
  onParentGone: () => {
    if (!isStubborn) process.exit(0);
  },
});
if (isStubborn) setInterval(() => undefined, 1_000);
channel.send(9, 0, [Buffer.from(JSON.stringify(process.env))]);

function garbage(): void {
  const frame = Buffer.from('these bytes are no frame at all');
  // A frame whose payload length lies: what follows it is read as a header.
  channel.send(2, 0, [frame]);
  process.stdout.write('garbage follows\n');
  import('node:fs').then(({ writeSync }) => writeSync(3, frame));
}
