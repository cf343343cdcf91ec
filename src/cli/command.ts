/** What a command of `pollux` is. */
export interface Command {
  /** Behind the name, for `--help`. */
  readonly usage: string;
  /** Takes the arguments behind its name; returns the exit code. */
  run(args: readonly string[]): number | Promise<number>;
}
