import type { Command } from 'commander';
import { examine } from '../doctor/examine.js';
import type { Finding } from '../doctor/finding.js';
import { type CommonOptions, commandConfig, commandLog, commandOutput } from '../options.js';

const MARK = { ok: 'ok  ', warn: 'WARN', fail: 'FAIL' } as const;

export function addDoctorCommand(program: Command): void {
  program
    .command('doctor')
    .description(
      'check this machine and what lies under var_dir, and say what to do; exit status 1 if something fails',
    )
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions>();
      const config = commandConfig(options);
      const findings = await examine(config, commandLog(config), options);
      commandOutput(options).answer(findings, formatFindings);
      if (findings.some((finding) => finding.level === 'fail')) process.exitCode = 1;
    });
}

function formatFindings(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map((finding) => finding.check.length));
  return findings
    .map(({ level, check, finding, advice }) => {
      const line = `${MARK[level]}  ${check.padEnd(width)}  ${finding}`;
      return advice === null ? line : `${line}\n      ${' '.repeat(width)}  → ${advice}`;
    })
    .join('\n');
}
