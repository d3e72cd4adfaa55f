import type { Command } from 'commander';
import { startGateway } from '../../gateway/gateway.js';
import { createLogger } from '../../telemetry/log.js';
import { type CommonOptions, commandConfig, urlOf } from '../options.js';
import { endWithSupervisor, supervise } from '../supervise.js';
import { untilStopped } from '../until-stopped.js';

export function addServeCommand(program: Command): void {
  program
    .command('serve')
    .description('run a gateway until Ctrl-C or SIGTERM')
    .option('--supervise', 'start the gateway again when it crashes or is killed')
    .action(async ({ supervise: isSupervisor }: { readonly supervise?: boolean }, command: Command) => {
      const config = commandConfig(command.optsWithGlobals<CommonOptions>());
      if (isSupervisor === true) {
        const args = process.argv.slice(2).filter((arg) => arg !== '--supervise');
        const program = process.argv[1];
        if (program === undefined) throw new TypeError('a program without a file cannot be started again');
        process.exitCode = await supervise(program, args, untilStopped(), createLogger(config.log.level));
        return;
      }
      endWithSupervisor();
      // Before the start: a Ctrl-C while it starts must not leave the private PostgreSQL behind.
      const stopped = untilStopped();
      const gateway = await startGateway(config, createLogger(config.log.level));
      const { http, grpc, adminHttp, adminGrpc } = gateway.addresses;
      process.stderr.write(
        `serving: HTTP ${urlOf(http)}, gRPC ${grpc.host}:${grpc.port}, admin ${urlOf(adminHttp)} and gRPC ${adminGrpc.host}:${adminGrpc.port}; Ctrl-C ends it\n`,
      );
      await stopped.promise;
      await gateway.close();
    });
}
