/** To a person, beside what is printed for programs. */
export const say = (line: string): void => {
  process.stderr.write(`${line}\n`);
};
