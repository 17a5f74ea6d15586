import { defineConfig, type TestProjectInlineConfiguration } from "vitest/config";

/** A level of tests is a folder; `npm test -- --project unit` runs one. */
function level(name: string, globalSetup: string[] = []): TestProjectInlineConfiguration {
  return { extends: true, test: { name, include: [`test/${name}/**/*.test.ts`], globalSetup } };
}

/** One real Redis for the whole level. */
const REDIS = ["test/global-setup.ts"];

export default defineConfig({
  test: {
    projects: [
      level("unit"),
      level("redis", REDIS),
      level("stream", REDIS),
      level("scheduled", REDIS),
      level("model", REDIS),
      level("worker", REDIS),
      level("server", REDIS),
      level("client", REDIS),
      level("local", REDIS),
      level("demo", REDIS),
      // Each target has a Redis of its own.
      level("fuzz"),
    ],
    reporters: ["default", "./test/closing-line.ts"],
    // Redis, workerd and the tests share few cores: a test that waits for a process must not fail for lack of a turn.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // One more than two cores: many tests wait for processes to start and end.
    maxWorkers: 3,
    // Each file has Redis keys, folders and ports of its own; loading every module again for each takes a tenth of the time.
    isolate: false,
  },
});
