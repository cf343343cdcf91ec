import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  // Tests say 'pollux' and get src/, the same modules as a test that imports '../../src/errors.js'.
  // Child processes and worker threads say 'pollux' too and get dist/, through the package's own exports.
  resolve: { alias: [{ find: /^pollux$/, replacement: source('./src/index.ts') }] },
  test: {
    pool: 'forks',
    // Network namespaces and PMD threads that spin: one file at a time, or two cores are not enough.
    fileParallelism: false,
    testTimeout: 30_000,
    hookTimeout: 30_000,
    projects: [
      {
        extends: true,
        test: { name: 'pollux', include: ['test/**/*.test.ts'], exclude: ['test/package/**'] },
      },
      {
        extends: true,
        test: {
          name: 'package',
          include: ['test/package/**/*.test.ts'],
          globalSetup: 'test/package/tarball-setup.ts',
          testTimeout: 600_000,
          hookTimeout: 600_000,
        },
      },
    ],
  },
});
