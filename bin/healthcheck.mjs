// Whether the gateway of this container takes traffic, for the image's HEALTHCHECK: over HTTP, else over TLS, whose
// certificate names what clients call it and not this loopback address.
import { get as overHttp } from 'node:http';
import { get as overTls } from 'node:https';

const TIMEOUT_MS = 2_500;
const port = process.env.SWITCHYARD_LISTEN__HTTP__PORT || '8080';

const ask = (get, scheme) =>
  new Promise((resolve) => {
    const request = get(`${scheme}://127.0.0.1:${port}/readyz`, { rejectUnauthorized: false }, (response) => {
      response.resume();
      resolve(response.statusCode === 200 ? 'ready' : `status ${response.statusCode}`);
    });
    request.setTimeout(TIMEOUT_MS, () => request.destroy(new Error('no answer')));
    request.on('error', ({ code, message }) => resolve(code ?? message));
  });

let said = await ask(overHttp, 'http');
if (said === 'ECONNRESET' || said.startsWith('HPE_')) said = await ask(overTls, 'https');
// It asks for a client's certificate, which there is none of here: it listens, and more cannot be known.
if (said.endsWith('CERTIFICATE_REQUIRED')) said = 'ready';
if (said !== 'ready') process.stdout.write(`${said}\n`);
process.exitCode = said === 'ready' ? 0 : 1;
