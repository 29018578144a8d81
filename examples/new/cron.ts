/**
 * Work on a schedule, once a server, whatever the number of its processes.
 *
 *   hrmr run NAME work     # now; hrmr status shows when it is due
 */
import { defineModule } from "hrmr";

export default defineModule({
  schedule: {
    work: {
      // Every five minutes. Also: "every 10s", "@daily", "0 9 * * MON-FRI".
      when: "*/5 * * * *",
      async run({ log, signal }, { dueAt }) {
        // Pass `signal` on to what takes long: it aborts when the time of the run is over.
        if (!signal.aborted) log.info(`the work of ${dueAt.toISOString()} is done`);
      },
    },
  },
});
