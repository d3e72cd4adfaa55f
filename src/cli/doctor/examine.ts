import type { Config } from '../../config/config.js';
import { SwitchyardError } from '../../errors.js';
import type { Logger } from '../../telemetry/log.js';
import { gatewayClient } from '../admin-session.js';
import type { AccessOptions } from '../client-access.js';
import { urlOf } from '../options.js';
import { checkBundles, checkModels, checkRegistry } from './artifacts.js';
import { checkDram } from './dram.js';
import { type Finding, fail, ok } from './finding.js';
import { checkDisk, checkMemory, checkOpenFiles, checkProcessor } from './machine.js';
import { checkPorts } from './ports.js';
import { checkProviders } from './providers.js';
import { checkReadAhead } from './read-ahead.js';

const NODE_MAJOR_MIN = 20;

/** Everything the doctor looks at, in the order in which a person would. Never throws for what it finds. */
export async function examine(
  config: Config,
  log: Logger,
  access: AccessOptions,
): Promise<readonly Finding[]> {
  const gateway = await checkGateway(config, access);
  const bundles = await checkBundles(config);
  return [
    checkNode(),
    gateway.finding,
    ...(await checkPorts(config.listen, gateway.isOurs)),
    ...checkProcessor(),
    ...checkMemory(bundles.bytes),
    checkOpenFiles(config.connectionsMax),
    ...(await checkDram(config, bundles.verified)),
    ...(await checkDisk(config.varDir)),
    ...checkReadAhead(config.bundlesDir),
    ...checkProviders(config),
    ...(await checkRegistry(config, log)),
    ...(await checkModels(config)),
    ...bundles.findings,
  ];
}

/** Another program, or a gateway of another folder, may hold the admin port: commands would then speak to that one. */
async function checkGateway(
  config: Config,
  access: AccessOptions,
): Promise<{ readonly finding: Finding; readonly isOurs: boolean }> {
  const url = urlOf(config.listen.adminHttp);
  const status = await gatewayClient(config, access)
    .getIfRunning<{ readonly var_dir?: string }>('/v1/status')
    .catch((error: unknown) => (isKeyRefused(error) ? 'refused' : { var_dir: undefined }));
  if (status === null) return { finding: ok('gateway', 'none runs here'), isOurs: false };
  if (status === 'refused') {
    const advice = 'name a file with an operator or admin key: --key-file';
    return { finding: fail('gateway', `the gateway at ${url} asks for a key`, advice), isOurs: false };
  }
  if (status.var_dir === config.varDir)
    return { finding: ok('gateway', `runs, admin at ${url}`), isOurs: true };
  const whose = status.var_dir === undefined ? 'another program' : `a gateway over ${status.var_dir}`;
  const advice =
    'commands of this folder would speak to it: give one of them another admin port (--admin-port)';
  return { finding: fail('gateway', `${whose} answers at ${url}`, advice), isOurs: false };
}

const isKeyRefused = (error: unknown): boolean =>
  error instanceof SwitchyardError &&
  (error.reason === 'UNAUTHENTICATED' || error.reason === 'PERMISSION_DENIED');

function checkNode(): Finding {
  const major = Number(process.versions.node.split('.')[0]);
  return major >= NODE_MAJOR_MIN
    ? ok('node', process.version)
    : fail('node', process.version, `install Node ${NODE_MAJOR_MIN} or newer`);
}
