// Ends a child when this process is gone, however it went.
import { spawn } from "node:child_process";

/** `release()` lets go of the watched process without ending it. */
export interface Watchdog {
  release(): void;
}

// Its stdin is a pipe from this process that nothing is ever written to. The kernel closes it when this process ends,
// also by SIGKILL; only then does `read` return. `$1` is a pid, or a process group when negative.
const SCRIPT = `read _; kill -s TERM -- "$1" 2>/dev/null || exit 0
i=0; while [ $i -lt 100 ] && kill -s 0 -- "$1" 2>/dev/null; do i=$((i+1)); sleep 0.1; done
kill -s KILL -- "$1" 2>/dev/null; exit 0`;

/**
 * Watches over a process that must not outlive this one: SIGTERM when this process ends, SIGKILL 10 s later.
 *
 * @param target pid, or the negated id of a process group
 */
export function endWithParent(target: number): Watchdog {
  // A session of its own, or Ctrl-C in the terminal would end the watchdog first.
  const child = spawn("/bin/sh", ["-c", SCRIPT, "weir-watchdog", String(target)], {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  child.unref();
  // Without a listener a failed spawn would end this process; without a watchdog everything else still works.
  child.on("error", (error) => console.error(`no watchdog for process ${target}: ${error.message}`));
  // Ending stdin would trigger it: so the watchdog is killed.
  return { release: () => void child.kill("SIGKILL") };
}
