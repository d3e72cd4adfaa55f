import type { SecureContextOptions } from 'node:tls';
import { ServerCredentials } from '@grpc/grpc-js';
import type { Certificates } from '../tls/certificates.js';

/** grpc-js' credentials whose certificate is replaced while the server runs. */
export class WatchedCredentials extends ServerCredentials {
  constructor(certificates: Certificates) {
    super(certificates.handshake, certificates.context);
    certificates.onChange((context: SecureContextOptions) => this.updateSecureContextOptions(context));
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

export const credentialsOf = (certificates: Certificates | null): ServerCredentials =>
  certificates === null ? ServerCredentials.createInsecure() : new WatchedCredentials(certificates);
