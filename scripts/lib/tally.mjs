// Counting what the runners report. A tally is { passed, failed, skipped: [names] }.
import { stripVTControlCharacters } from 'node:util';

export const emptyTally = () => ({ passed: 0, failed: 0, skipped: [] });

export function add(total, part) {
  total.passed += part.passed;
  total.failed += part.failed;
  total.skipped.push(...part.skipped);
}

export const ran = (tally) => tally.passed + tally.failed + tally.skipped.length;

export function closingLine({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed, ${skipped.length} skipped`;
}

/**
 * Our own scripts end with "N passed, N failed", and name each skip on a line "skipped: name (reason)".
 * The last such closing line counts.
 */
export function parseClosingLine(output) {
  const closing = [...output.matchAll(/^(\d+) passed, (\d+) failed(?:, \d+ skipped)?$/gm)].at(-1);
  if (!closing) return emptyTally();
  const skipped = [...output.matchAll(/^skipped: (.+)$/gm)].map((match) => match[1]);
  return { passed: Number(closing[1]), failed: Number(closing[2]), skipped };
}

/** `[doctest] test cases:  5 |  4 passed | 1 failed | 0 skipped` (skipped: those a filter left out). */
export function parseDoctest(output) {
  const line = /^\[doctest\] test cases:\s*\d+\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed/m;
  const match = stripVTControlCharacters(output).match(line);
  if (!match) return emptyTally();
  return { passed: Number(match[1]), failed: Number(match[2]), skipped: [] };
}

// Of one failed test, so many lines are repeated.
const enough = 8;

/** What doctest said of the cases that failed, a few lines each: a list of texts, the name first. */
export function doctestFailures(output) {
  const failures = [];
  // Before each failed case it rules a line, and says where the case is and its name.
  for (const part of stripVTControlCharacters(output).split(/^={20,}$/m)) {
    const name = part.match(/^TEST CASE: +(.+)$/m)?.[1];
    if (!name) continue;
    const lines = part.slice(part.indexOf(name) + name.length).split('\n');
    const told = lines.findIndex((line) => / (ERROR|FATAL ERROR): /.test(line));
    if (told < 0) continue; // a message of a test that passed
    const few = lines.slice(told).filter((line) => line.trim());
    failures.push([name, ...few.slice(0, enough)].join('\n    '));
  }
  return failures;
}

/** The same of the report of vitest's JSON reporter. */
export function vitestFailures(report) {
  const failures = [];
  for (const file of report.testResults) {
    const failed = file.assertionResults.filter((test) => test.status === 'failed');
    const told = failed.map((test) => [test.fullName, (test.failureMessages ?? []).join('\n')]);
    if (file.assertionResults.length === 0 && file.status === 'failed')
      told.push(['', file.message ?? '']);
    for (const [name, message] of told) {
      const lines = stripVTControlCharacters(message)
        .split('\n')
        .filter((line) => line.trim());
      failures.push([`${file.name} > ${name}`, ...lines.slice(0, enough)].join('\n    '));
    }
  }
  return failures;
}

/** The report of vitest's JSON reporter. */
export function parseVitest(report) {
  const tally = emptyTally();
  for (const file of report.testResults) {
    // A file that fails before its first test (an import error) has no test to count.
    if (file.assertionResults.length === 0 && file.status === 'failed') tally.failed++;
    for (const test of file.assertionResults) {
      if (test.status === 'passed') tally.passed++;
      else if (test.status === 'failed') tally.failed++;
      else tally.skipped.push(test.fullName);
    }
  }
  return tally;
}
