/** The interface between `pollux` and its commands. */
export interface Command {
  /** Behind the name, for `--help`. */
  readonly usage: string;
  /** Takes the arguments behind its name; returns the exit code. */
  run(args: readonly string[]): number | Promise<number>;
}
