import type { Config } from '../../config/config.js';
import type { Logger } from '../../telemetry/log.js';
import { GatewayClient } from '../gateway-client.js';
import { urlOf } from '../options.js';
import { checkBundles, checkModels, checkRegistry } from './artifacts.js';
import { checkDram } from './dram.js';
import { type Finding, fail, ok } from './finding.js';
import { checkDisk, checkMemory, checkProcessor } from './machine.js';
import { checkPorts } from './ports.js';
import { checkProviders } from './providers.js';

const NODE_MAJOR_MIN = 20;

/** Everything the doctor looks at, in the order in which a person would. Never throws for what it finds. */
export async function examine(config: Config, log: Logger): Promise<readonly Finding[]> {
  const gateway = await checkGateway(config);
  const bundles = await checkBundles(config);
  return [
    checkNode(),
    gateway.finding,
    ...(await checkPorts(config.listen, gateway.isOurs)),
    ...checkProcessor(),
    ...checkMemory(bundles.bytes),
    ...(await checkDram(config, bundles.verified)),
    ...(await checkDisk(config.varDir)),
    ...checkProviders(config),
    ...(await checkRegistry(config, log)),
    ...(await checkModels(config)),
    ...bundles.findings,
  ];
}

/** Another program, or a gateway of another folder, may hold the admin port: commands would then speak to that one. */
async function checkGateway(
  config: Config,
): Promise<{ readonly finding: Finding; readonly isOurs: boolean }> {
  const url = urlOf(config.listen.adminHttp);
  const status = await new GatewayClient(url)
    .getIfRunning<{ readonly var_dir?: string }>('/v1/status')
    .catch(() => ({ var_dir: undefined }));
  if (status === null) return { finding: ok('gateway', 'none runs here'), isOurs: false };
  if (status.var_dir === config.varDir)
    return { finding: ok('gateway', `runs, admin at ${url}`), isOurs: true };
  const whose = status.var_dir === undefined ? 'another program' : `a gateway over ${status.var_dir}`;
  const advice =
    'commands of this folder would speak to it: give one of them another admin port (--admin-port)';
  return { finding: fail('gateway', `${whose} answers at ${url}`, advice), isOurs: false };
}

function checkNode(): Finding {
  const major = Number(process.versions.node.split('.')[0]);
  return major >= NODE_MAJOR_MIN
    ? ok('node', process.version)
    : fail('node', process.version, `install Node ${NODE_MAJOR_MIN} or newer`);
}
