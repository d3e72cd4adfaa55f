/** Where supervisors report to; the gateway passes its logger in. Never query texts, never secrets. */
export type ProcessLog = (
  level: 'info' | 'warn' | 'error',
  message: string,
  fields: Readonly<Record<string, string | number>>,
) => void;
