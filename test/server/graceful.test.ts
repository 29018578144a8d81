/** How a server ends, and what a SIGHUP changes. */
import { testGraceful } from "../support/graceful";

testGraceful(1);
