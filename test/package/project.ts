// A user's project: a folder of its own that has the tarball installed.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { inject } from 'vitest';

export class Project implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'pollux-project-'));

  constructor(fields: Readonly<Record<string, unknown>> = {}) {
    this.write('package.json', JSON.stringify({ name: 'user', private: true, ...fields }));
  }

  /** Installs the tarball and whatever else is named, running no script. */
  install(...packages: readonly string[]): void {
    this.run('npm', [
      ...['install', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'],
      ...[inject('tarball').path, ...packages],
    ]);
  }

  write(path: string, text: string): void {
    const file = join(this.folder, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }

  /** What the command prints. Throws, with all that it said, if it fails. */
  run(
    command: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): string {
    try {
      return execFileSync(command, args, {
        cwd: this.folder,
        // Nothing of the runner that runs this test, and no addon but the prebuilt one.
        env: { ...outside(process.env), PREBUILDS_ONLY: '1', NO_COLOR: '1', ...env },
        encoding: 'utf8',
        stdio: 'pipe',
      });
    } catch (error) {
      const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
      throw new Error(`${command} ${args.join(' ')} failed:\n${stdout}\n${stderr}`);
    }
  }

  node(...args: readonly string[]): string {
    return this.run(process.execPath, args).trim();
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function outside(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const own =
    /^(NODE_OPTIONS|FORCE_COLOR|VITEST.*|TEST|JEST_.*|NODE_ENV|MODE|DEV|PROD|SSR|BASE_URL|npm_.*)$/;
  return Object.fromEntries(Object.entries(env).filter(([name]) => !own.test(name)));
}
