import path from 'node:path';
import { loadSync, type PackageDefinition } from '@grpc/proto-loader';
import { protoPath as healthProtoPath } from 'grpc-health-check';
import protobuf from 'protobufjs';
import { packageRoot } from '../../package-root.js';

export interface Protos {
  /** Message types of the contract and of google.rpc. */
  readonly root: protobuf.Root;
  /** Services with their descriptors, for grpc-js and for reflection. */
  readonly definition: PackageDefinition;
}

const PUBLIC_FILES = ['switchyard/v1/search.proto'];
const ADMIN_FILES = [
  'switchyard/v1/router.proto',
  'switchyard/v1/registry.proto',
  'switchyard/v1/evaluation.proto',
  'switchyard/v1/migration.proto',
  'switchyard/v1/keys.proto',
];

/** Reads the public contract from `proto/`, beside package.json in a checkout and when installed. */
export const loadProtos = (): Protos => load(PUBLIC_FILES);

/** The services of the admin port. */
export const loadAdminProtos = (): Protos => {
  const { root, definition } = load(ADMIN_FILES);
  // Imported for its Tier alone; the service itself is not here, so reflection does not say so.
  const { 'switchyard.v1.SearchService': _search, ...admin } = definition;
  return { root, definition: admin };
};

function load(files: readonly string[]): Protos {
  const folder = path.join(packageRoot(), 'proto');
  const root = new protobuf.Root();
  root.resolvePath = (_origin, target) => (path.isAbsolute(target) ? target : path.join(folder, target));
  root.loadSync([...files, 'google/rpc/status.proto', 'google/rpc/error_details.proto'], {
    keepCase: true,
  });
  root.resolveAll();
  const definition = {
    ...loadSync([...files], { keepCase: true, includeDirs: [folder] }),
    ...loadSync(healthProtoPath, { keepCase: true, enums: String, defaults: true }),
  };
  return { root, definition };
}
